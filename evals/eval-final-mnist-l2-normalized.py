"""Carlini and Wagner's L2 attack on logits divided by the sum of their magnitudes: the scale of the logits is without
effect, as it should be on networks with enormous ones.

    ./eval.sh eval-final-mnist-l2-normalized logs/RUN --gpu 0
"""

import core

FLAGS = {
    'task': 'attack',
    'eid': [10000],
    'attack_type': core.AttackType.L_2,
    'attack_set': 'train',
    'attack_N': 'all',
    'attack_B': 128,
    'attack_normalize_output': True,
    'attack_initial_const': 10,
    'lr': 0.01,
}

if __name__ == '__main__':
    core.app_start(FLAGS)
