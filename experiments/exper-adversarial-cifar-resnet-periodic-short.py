"""exper-adversarial-cifar-resnet-periodic of 1,000 images, w = 2, for 8 epochs, for a look on 2 CPU cores.

    ./run.sh exper-adversarial-cifar-resnet-periodic-short
"""

import core

FLAGS = {
    'like': 'exper-adversarial-cifar-resnet-periodic',
    'train_N': 1000,
    'test_N': 200,
    'augment': None,
    'model.width': 2,
    'objective.k': 3,
    'E': 8,
    'B': 50,
    'model.schedule': {'type': 'cycle_jump', 'start_v': 1.0, 'power': 0.1, 'drop_point_list': [0.5, 0.75],
                       'ckpt_list': [0, 4, 6, 8], 'by': 'batch'},
    'objective.eps': {'value': 1 / 255, 'by': 'batch', 'schedule': {
        'type': 'cycle_cos', 'eps_min': 0.0, 'eps_max': 16.0, 'ckpt_list': [0, 4, 6, 8], 'max': 8.0}},
    'archive': 2,
    'monitors': [('pgd', 1, {'images': 100})],
}

if __name__ == '__main__':
    core.app_start(FLAGS)
