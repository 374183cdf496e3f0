"""eval-mma-mnist-inf on CIFAR-10, within L-infinity budgets of 4/255 to 32/255; a step is a quarter of the budget.

    ./eval.sh eval-mma-cifar-inf logs/RUN --gpu 0
"""

import core

FLAGS = {
    'like': 'eval-mma-mnist-inf',
    'attack_eps_list': [4 / 255, 8 / 255, 12 / 255, 16 / 255, 20 / 255, 24 / 255, 28 / 255, 32 / 255],
    'lr': 1 / 4,
}

if __name__ == '__main__':
    core.app_start(FLAGS)
