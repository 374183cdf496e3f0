"""sweep-pas-mnist of 5,000 images, w = 4, within 0.3, measured on 500 test images, for a machine without a GPU.

    ./run.sh  sweep-pas-mnist-short
"""

import core

EPS = 0.3
STEPS = {'eval-pas-pgd': {'attack_K': 40, 'lr': 1 / 16}, 'eval-pas-apgd-ce': {'attack_K': 40},
         'eval-pas-apgd-dlr': {'attack_K': 40}, 'eval-pas-square': {'attack_K': 1000}, 'eval-pas-autoattack': {}}

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
    'evaluations': {name: {'like': name, 'eps': EPS, 'attack_N': 500, **steps} for name, steps in STEPS.items()},
}

if __name__ == '__main__':
    core.sweep_start(SWEEP)
