"""Periodic adversarial scheduling, PAS, of VGG-16 (w = 8): budget and rate begin anew after 100 and 150 epochs
(Liu et al., arXiv 2006.08403).

    ./run.sh exper-adversarial-cifar-vgg-periodic --gpu 0

Every period ends in a model of its own, epochs 100, 150 and 200, of which the paper makes an ensemble.
"""

import core

FLAGS = {
    'like': 'exper-adversarial-cifar-vgg-const',
    'model.schedule': {'type': 'cycle_jump', 'start_v': 1.0, 'power': 0.1, 'drop_point_list': [0.5, 0.75],
                       'ckpt_list': [0, 100, 150, 200], 'by': 'epoch'},
    'objective.eps': {'value': 1 / 255, 'by': 'epoch', 'schedule': {
        'type': 'cycle_cos', 'eps_min': 0.0, 'eps_max': 16.0, 'ckpt_list': [0, 100, 150, 200], 'max': 8.0}},
}

if __name__ == '__main__':
    core.app_start(FLAGS)
