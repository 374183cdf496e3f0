"""A run whose weights are moved along a direction, as a run of its own, which every evaluation takes. The directions
are those of eval-scan; with the same --seed, the same random ones.

    ./eval.sh eval-perturb logs/RUN --seed 1 --set options.step=0.5 --eval_log logs/moved
    ./eval.sh eval-perturb logs/RUN --set "options.directions=('towards', 'logs/OTHER')" --set options.step=0.5
    ./eval.sh eval-hessian logs/moved
"""

import core

FLAGS = {
    'task': 'perturb',
    'eid': 'last',
    'options': {'directions': 'filter', 'step': 0.1},
}

if __name__ == '__main__':
    core.app_start(FLAGS)
