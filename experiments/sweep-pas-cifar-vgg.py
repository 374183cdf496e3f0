"""Table 1 of Liu et al. (arXiv 2006.08403) on CIFAR-10: VGG-16 (w = 8) by adversarial training with a budget that is
constant, grows, or grows in periods (PAS), and what five attacks leave of each.

    ./run.sh  sweep-pas-cifar-vgg --gpu 0

12 runs of 200 epochs.
"""

import core

EPS = 8  # of 255
PERIODS = [0, 100, 150, 200]
STEPS = {'eval-pas-pgd': {'lr': 1 / EPS}, 'eval-pas-apgd-ce': {}, 'eval-pas-apgd-dlr': {}, 'eval-pas-square': {},
         'eval-pas-autoattack': {}}

SWEEP = {
    'base': {'like': 'exper-adversarial-cifar-vgg-const'},
    'axes': {
        'budget': {
            'constant': {'objective.eps': EPS / 255},
            'cosine': {'objective.eps': {'value': 1 / 255, 'by': 'epoch', 'schedule': {
                'type': 'cycle_cos', 'eps_min': 0.0, 'eps_max': 2.0 * EPS, 'ckpt_list': [0, 200], 'max': EPS}}},
            'linear': {'objective.eps': {'value': 1 / 255, 'by': 'epoch', 'schedule': {
                'type': 'linear', 'start_v': 0.0, 'slope': 2 * EPS / 200, 'max': EPS}}},
            'periodic': {
                'model.schedule': {'type': 'cycle_jump', 'start_v': 1.0, 'power': 0.1, 'drop_point_list': [0.5, 0.75],
                                   'ckpt_list': PERIODS, 'by': 'epoch'},
                'objective.eps': {'value': 1 / 255, 'by': 'epoch', 'schedule': {
                    'type': 'cycle_cos', 'eps_min': 0.0, 'eps_max': 2.0 * EPS, 'ckpt_list': PERIODS, 'max': EPS}}},
        },
    },
    'seeds': [0, 1, 2],
    'evaluations': {name: {'like': name, 'eps': EPS / 255, **steps} for name, steps in STEPS.items()},
}

if __name__ == '__main__':
    core.sweep_start(SWEEP)
