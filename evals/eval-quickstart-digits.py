"""The least L2 distance on the digits, for the last archived epoch of exper-quickstart-digits: some seconds.

    ./eval.sh eval-quickstart-digits logs/RUN
"""

import core

FLAGS = {
    'task': 'attack',
    'eid': 'last',
    'attack_type': core.AttackType.L_2_FAST,
    'attack_set': 'train',
    'attack_N': 'all',
    'attack_B': 256,
}

if __name__ == '__main__':
    core.app_start(FLAGS)
