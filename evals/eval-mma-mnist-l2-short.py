"""eval-mma-mnist-l2 of the first 1,000 images, with one restart for each loss and 20 steps.

    ./eval.sh eval-mma-mnist-l2-short logs/RUN
"""

import core

FLAGS = {
    'like': 'eval-mma-mnist-l2',
    'attack_N': 1000,
    'attack_E': 2,
    'attack_K': 20,
}

if __name__ == '__main__':
    core.app_start(FLAGS)
