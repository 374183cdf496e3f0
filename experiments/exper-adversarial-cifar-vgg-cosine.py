"""exper-adversarial-cifar-vgg-const with a budget that grows from 0 to 16 / 255 along half a cosine, and stays at
8 / 255.

    ./run.sh exper-adversarial-cifar-vgg-cosine --gpu 0
"""

import core

FLAGS = {
    'like': 'exper-adversarial-cifar-vgg-const',
    'objective.eps': {'value': 1 / 255, 'by': 'epoch', 'schedule': {
        'type': 'cycle_cos', 'eps_min': 0.0, 'eps_max': 16.0, 'ckpt_list': [0, 200], 'max': 8.0}},
}

if __name__ == '__main__':
    core.app_start(FLAGS)
