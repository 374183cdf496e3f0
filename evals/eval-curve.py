"""Loss and accuracy of the training and the test set along a curve between two runs, beside the straight line between
them; with a budget, robust accuracy under PGD, too.

    ./eval.sh eval-curve logs/RUN
    ./eval.sh eval-curve logs/RUN --set options.step=0.02 --set eps=0.1 --set attack_N=100
    ./plot.sh figure-curve logs/RUN

Any other evaluation measures one point: ./eval.sh eval-mma-digits logs/RUN --set t=0.3
"""

import core

FLAGS = {
    'task': 'curve',
    'eid': 'last',
    'attack_type': core.AttackType.PGD,
    'attack_set': 'test',
    'attack_N': 'all',
    'attack_B': 128,
    'attack_K': 20,
    'attack_E': 1,
    'options': {'step': 0.05},
}

if __name__ == '__main__':
    core.app_start(FLAGS)
