"""The L2 basic iterative method on the training set, with a search for the smallest successful budget.

    ./eval.sh eval-final-mnist-l2-bim logs/RUN --gpu 0
"""

import core

FLAGS = {
    'task': 'attack',
    'eid': [10000],
    'attack_type': core.AttackType.L_2_BIM,
    'attack_set': 'train',
    'attack_N': 'all',
    'attack_B': 128,
    'attack_K': 10,
    'lr': 0.05,
}

if __name__ == '__main__':
    core.app_start(FLAGS)
