"""exper-adversarial-cifar-vgg-const with a budget that grows by 0.08 / 255 an epoch, and stays at 8 / 255 from the
100th on.

    ./run.sh exper-adversarial-cifar-vgg-linear --gpu 0
"""

import core

FLAGS = {
    'like': 'exper-adversarial-cifar-vgg-const',
    'objective.eps': {'value': 1 / 255, 'by': 'epoch', 'schedule': {
        'type': 'linear', 'start_v': 0.0, 'slope': 16 / 200, 'max': 8.0}},
}

if __name__ == '__main__':
    core.app_start(FLAGS)
