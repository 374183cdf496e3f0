"""exper-adversarial-cifar-vgg-const of 1,000 images, w = 2, for 8 epochs, for a look on 2 CPU cores.

    ./run.sh exper-adversarial-cifar-vgg-const-short
"""

import core

FLAGS = {
    'like': 'exper-adversarial-cifar-vgg-const',
    'train_N': 1000,
    'test_N': 200,
    'augment': None,
    'model.width': 2,
    'objective.k': 3,
    'E': 8,
    'B': 50,
    'model.schedule': None,
    'archive': 4,
    'monitors': [('pgd', 1, {'images': 100})],
}

if __name__ == '__main__':
    core.app_start(FLAGS)
