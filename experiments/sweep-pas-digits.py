"""sweep-pas-mnist on scikit-learn's digits, with the periodic schedule, within 0.15: no download, no GPU.

    ./run.sh  sweep-pas-digits
"""

import core

EPS = 0.15
STEPS = {'eval-pas-pgd': {'attack_K': 40, 'lr': 1 / 16}, 'eval-pas-apgd-ce': {'attack_K': 40},
         'eval-pas-apgd-dlr': {'attack_K': 40}, 'eval-pas-square': {'attack_K': 1000}, 'eval-pas-autoattack': {}}

SWEEP = {
    'base': {'like': 'exper-adversarial-digits-const'},
    'axes': {
        'budget': {
            'constant': {'objective.eps': EPS},
            'cosine': {'objective.eps': {'by': 'epoch', 'schedule': {
                'type': 'cycle_cos', 'eps_min': 0.0, 'eps_max': 1.5 * EPS, 'ckpt_list': [0, 24], 'max': EPS}}},
            'linear': {'objective.eps': {'by': 'epoch', 'schedule': {
                'type': 'linear', 'start_v': 0.0, 'slope': 2 * EPS / 24, 'max': EPS}}},
            'periodic': {
                'model.schedule': {'type': 'cycle_jump', 'start_v': 1.0, 'power': 0.1, 'drop_point_list': [0.5, 0.75],
                                   'ckpt_list': [0, 12, 18, 24], 'by': 'epoch'},
                'objective.eps': {'by': 'epoch', 'schedule': {
                    'type': 'cycle_cos', 'eps_min': 0.0, 'eps_max': 1.5 * EPS, 'ckpt_list': [0, 12, 18, 24],
                    'max': EPS}}},
        },
    },
    'seeds': [0, 1, 2],
    'evaluations': {name: {'like': name, 'eps': EPS, **steps} for name, steps in STEPS.items()},
}

if __name__ == '__main__':
    core.sweep_start(SWEEP)
