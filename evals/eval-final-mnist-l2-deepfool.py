"""L2 DeepFool on the training set.

    ./eval.sh eval-final-mnist-l2-deepfool logs/RUN --gpu 0
"""

import core

FLAGS = {
    'task': 'attack',
    'eid': [10000],
    'attack_type': core.AttackType.L_2_DEEPFOOL,
    'attack_set': 'train',
    'attack_N': 'all',
    'attack_B': 128,
    'attack_K': 1000,
    'attack_normalize_output': True,
}

if __name__ == '__main__':
    core.app_start(FLAGS)
