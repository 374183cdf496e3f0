"""Table 1 of Liu et al. (arXiv 2006.08403) on CIFAR-10: VGG-16 (w = 8) by adversarial training with a budget that is
constant, grows, or grows in periods (PAS), and what five attacks leave of each.

    ./run.sh  sweep-pas-cifar-vgg --gpu 0

12 runs of 200 epochs.
"""

import core

EPS = 8  # of 255
PERIODS = [0, 100, 150, 200]
ATTACK = {'task': 'attack', 'attack_set': 'test', 'attack_B': 250, 'attack_eps_list': [EPS / 255]}

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
    'evaluations': {
        'eval-pgd': {**ATTACK, 'attack_type': 'LOSS_PGD', 'attack_K': 100, 'attack_E': 1, 'lr': 1 / EPS,
                     'attack_options': {'losses': ['xent'], 'start': 'step'}},
        'eval-apgd-ce': {**ATTACK, 'attack_type': 'APGD', 'attack_K': 100, 'attack_options': {'loss': 'xent'}},
        'eval-apgd-dlr': {**ATTACK, 'attack_type': 'APGD', 'attack_K': 100, 'attack_options': {'loss': 'dlr'}},
        'eval-square': {**ATTACK, 'attack_type': 'SQUARE', 'attack_K': 5000},
        'eval-autoattack': {**ATTACK, 'attack_type': 'AUTO_ATTACK'},
    },
}

if __name__ == '__main__':
    core.sweep_start(SWEEP)
