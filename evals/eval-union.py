"""Joins the attack evaluations of a run: of each image, the nearest adversarial image that any of them found, which is
what robust accuracy means.

    ./eval.sh eval-union logs/RUN
    ./eval.sh eval-union logs/RUN --set norm=L2
    ./eval.sh eval-union logs/RUN --set "options.evaluations=['eval-autoattack/A', 'eval-mma-digits/B']"

Nothing is attacked: it takes seconds.
"""

import core

FLAGS = {
    'task': 'union',
    'attack_set': 'test',
    'eid': 'all',  # that the evaluations have in common
}

if __name__ == '__main__':
    core.app_start(FLAGS)
