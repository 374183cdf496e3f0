"""PGD as Liu et al. (arXiv 2006.08403) evaluate with it, a column of their table 1: 100 steps of 0.01 within an
L-infinity budget of 0.4, for MNIST, up the cross entropy from a random point within a step; the end counts.

    ./eval.sh eval-pas-pgd logs/RUN --gpu 0
    ./eval.sh eval-pas-pgd logs/RUN --set eps=8/255 --set lr=0.125      (CIFAR-10: steps of 1/255)
    ./eval.sh eval-pas-pgd logs/RUN --set eps=0.15                      (digits)

The whole test set, at the last epoch; lr is the size of a step in units of the budget. table-pas has a column for it.
"""

import core

FLAGS = {
    'task': 'attack',
    'eid': 'last',
    'attack_type': core.AttackType.LOSS_PGD,
    'attack_set': 'test',
    'attack_N': 'all',
    'attack_B': 128,
    'attack_K': 100,
    'attack_E': 1,
    'lr': 0.01 / 0.4,
    'norm': 'Linf',
    'eps': 0.4,
    'attack_options': {'losses': ['xent'], 'start': 'step'},
}

if __name__ == '__main__':
    core.app_start(FLAGS)
