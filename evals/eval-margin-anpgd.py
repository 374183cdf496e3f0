"""The mean margin of the test set by AN-PGD, as the paper of MMA training measures it (arXiv 1812.02637, algorithm 2):
PGD within a budget, and a bisection along where it ended for the nearest boundary.

    ./eval.sh eval-margin-anpgd logs/RUN --gpu 0
    ./eval.sh eval-margin-anpgd logs/RUN --gpu 0 --set attack_options.norm=L2

Without attack_options.eps and attack_options.most the budget is the paper's for MNIST, 0.3 (L-infinity) or 2 (L2), and
the search looks up to 1.5 times that; margins beyond count as that much, and those of misclassified images as 0. For
CIFAR-10 the paper has 8/255 = 0.0314 or 1, and 10 steps.
"""

import core

FLAGS = {
    'task': 'attack',
    'eid': 'best',  # of a run that keeps none, the last
    'attack_type': core.AttackType.AN_PGD,
    'attack_set': 'test',
    'attack_N': 'all',
    'attack_B': 128,
    'attack_K': 40,
    'attack_options': {'norm': 'Linf'},
}

if __name__ == '__main__':
    core.app_start(FLAGS)
