"""eval-mma-mnist-inf on CIFAR-10, within L2 budgets of 0.5 to 2.5; a step is a quarter of the budget.

    ./eval.sh eval-mma-cifar-l2 logs/RUN --gpu 0
"""

import core

FLAGS = {
    'like': 'eval-mma-mnist-inf',
    'attack_eps_list': [0.5, 1.0, 1.5, 2.0, 2.5],
    'attack_options.norm': 'L2',
    'lr': 1 / 4,
}

if __name__ == '__main__':
    core.app_start(FLAGS)
