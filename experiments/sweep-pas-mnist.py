"""Table 1 of Liu et al. (arXiv 2006.08403) on MNIST: LeNet (w = 16) by adversarial training with a budget that is
constant, or grows, and what five attacks leave of each.

    ./run.sh  sweep-pas-mnist --gpu 0

9 runs of 100 epochs. sweep-pas-mnist-short is a small part of it, for a machine without a GPU.
"""

import core

EPS = 0.4

SWEEP = {
    'base': {'like': 'exper-adversarial-mnist-const'},
    'axes': {
        'budget': {
            'constant': {'objective.eps': EPS},
            'cosine': {'objective.eps': {'by': 'epoch', 'schedule': {
                'type': 'cycle_cos', 'eps_min': 0.0, 'eps_max': 1.5 * EPS, 'ckpt_list': [0, 100], 'max': EPS}}},
            'linear': {'objective.eps': {'by': 'epoch', 'schedule': {
                'type': 'linear', 'start_v': 0.0, 'slope': 2 * EPS / 100, 'max': EPS}}},
        },
    },
    'seeds': [0, 1, 2],
    'evaluations': {name: {'like': name} for name in (
        'eval-pas-pgd', 'eval-pas-apgd-ce', 'eval-pas-apgd-dlr', 'eval-pas-square', 'eval-pas-autoattack')},
}

if __name__ == '__main__':
    core.sweep_start(SWEEP)
