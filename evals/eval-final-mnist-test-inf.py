"""L-infinity PGD on the test set, at budgets from 0.11 to 0.19.

    ./eval.sh eval-final-mnist-test-inf logs/RUN --gpu 0

Ten restarts of 100 steps at every budget; a step is a tenth of the budget.
"""

import core

FLAGS = {
    'task': 'attack',
    'eid': [10000],
    'attack_type': core.AttackType.L_INF,
    'attack_set': 'test',
    'attack_N': 'all',
    'attack_B': 128,
    'attack_E': 10,
    'attack_K': 100,
    'attack_eps_list': [0.11, 0.12, 0.13, 0.14, 0.15, 0.16, 0.17, 0.18, 0.19],
    'lr': 0.1,
}

if __name__ == '__main__':
    core.app_start(FLAGS)
