"""sweep-pas-mnist of 5,000 images, w = 4, within 0.3, measured on 500 test images, for a machine without a GPU.

    ./run.sh  sweep-pas-mnist-short
"""

import core

EPS = 0.3
ATTACK = {'task': 'attack', 'attack_set': 'test', 'attack_B': 250, 'attack_N': 500, 'attack_eps_list': [EPS]}

SWEEP = {
    'base': {'like': 'exper-adversarial-mnist-const-short'},
    'axes': {
        'budget': {
            'constant': {'objective.eps': EPS},
            'cosine': {'objective.eps': {'by': 'batch', 'schedule': {
                'type': 'cycle_cos', 'eps_min': 0.0, 'eps_max': 1.5 * EPS, 'ckpt_list': [0, 12], 'max': EPS}}},
            'linear': {'objective.eps': {'by': 'batch', 'schedule': {
                'type': 'linear', 'start_v': 0.0, 'slope': 2 * EPS / 12, 'max': EPS}}},
        },
    },
    'seeds': [0, 1, 2],
    'evaluations': {
        'eval-pgd': {**ATTACK, 'attack_type': 'LOSS_PGD', 'attack_K': 40, 'attack_E': 1, 'lr': 1 / 16,
                     'attack_options': {'losses': ['xent'], 'start': 'step'}},
        'eval-apgd-ce': {**ATTACK, 'attack_type': 'APGD', 'attack_K': 40, 'attack_options': {'loss': 'xent'}},
        'eval-apgd-dlr': {**ATTACK, 'attack_type': 'APGD', 'attack_K': 40, 'attack_options': {'loss': 'dlr'}},
        'eval-square': {**ATTACK, 'attack_type': 'SQUARE', 'attack_K': 1000},
        'eval-autoattack': {**ATTACK, 'attack_type': 'AUTO_ATTACK'},
    },
}

if __name__ == '__main__':
    core.sweep_start(SWEEP)
