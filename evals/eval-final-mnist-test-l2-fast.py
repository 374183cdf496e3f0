"""The least L2 distance on the test set, by FMN and DDN from several starts: in minutes what
eval-final-mnist-test-l2 measures in days.

    ./eval.sh eval-final-mnist-test-l2-fast logs/RUN --gpu 0
"""

import core

FLAGS = {
    'task': 'attack',
    'eid': [10000],
    'attack_type': core.AttackType.L_2_FAST,
    'attack_set': 'test',
    'attack_N': 'all',
    'attack_B': 128,
}

if __name__ == '__main__':
    core.app_start(FLAGS)
