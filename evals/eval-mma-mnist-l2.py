"""eval-mma-mnist-inf within L2 budgets of 1 to 4; a step is a quarter of the budget.

    ./eval.sh eval-mma-mnist-l2 logs/RUN --gpu 0
"""

import core

FLAGS = {
    'like': 'eval-mma-mnist-inf',
    'attack_eps_list': [1.0, 2.0, 3.0, 4.0],
    'attack_options.norm': 'L2',
    'lr': 1 / 4,
}

if __name__ == '__main__':
    core.app_start(FLAGS)
