"""eval-mma-mnist-inf of the first 1,000 images, with one restart for each loss and 20 steps.

    ./eval.sh eval-mma-mnist-inf-short logs/RUN
"""

import core

FLAGS = {
    'like': 'eval-mma-mnist-inf',
    'attack_N': 1000,
    'attack_E': 2,
    'attack_K': 20,
    'lr': 1 / 8,  # twenty of a fortieth would only reach half of the budget
}

if __name__ == '__main__':
    core.app_start(FLAGS)
