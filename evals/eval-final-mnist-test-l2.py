"""Carlini and Wagner's L2 attack on the test set (figure 8 of arXiv 1906.05890).

    ./eval.sh eval-final-mnist-test-l2 logs/RUN --gpu 0

It takes a day or two for 10,000 images on a CPU; --set attack_N=128 for a first look,
eval-final-mnist-test-l2-fast for all of them.
"""

import core

FLAGS = {
    'task': 'attack',
    'eid': [10000],
    'attack_type': core.AttackType.L_2,
    'attack_set': 'test',
    'attack_N': 'all',
    'attack_B': 128,
    'lr': 0.01,
}

if __name__ == '__main__':
    core.app_start(FLAGS)
