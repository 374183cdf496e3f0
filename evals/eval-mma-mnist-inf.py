"""Accuracy on MNIST's test set within L-infinity budgets of 0.1 to 0.4, as the paper of MMA training measures it
(arXiv 1812.02637): repeated PGD, five restarts up the cross entropy and five up the loss of Carlini and Wagner.

    ./eval.sh eval-mma-mnist-inf logs/RUN --gpu 0
    ./plot.sh table-mma logs/RUN [logs/RUN ...]

A step is a fortieth of the budget. An image that any restart breaks within a budget counts as broken there and within
all larger ones.
"""

import core

FLAGS = {
    'task': 'attack',
    'eid': 'best',  # of a run that keeps none, the last
    'attack_type': core.AttackType.LOSS_PGD,
    'attack_set': 'test',
    'attack_N': 'all',
    'attack_B': 128,
    'attack_E': 10,
    'attack_K': 100,
    'attack_eps_list': [0.1, 0.2, 0.3, 0.4],
    'attack_options': {'norm': 'Linf'},
    'lr': 1 / 40,
}

if __name__ == '__main__':
    core.app_start(FLAGS)
