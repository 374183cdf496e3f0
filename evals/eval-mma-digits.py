"""eval-mma-mnist-inf for the digits, as exper-mma-digits trains on them: all 355 test images in some ten seconds.

    ./eval.sh eval-mma-digits logs/RUN
"""

import core

FLAGS = {
    'like': 'eval-mma-mnist-inf',
    'attack_B': 256,
    'attack_E': 4,
    'attack_K': 40,
    'attack_eps_list': [0.05, 0.1, 0.15, 0.2],
    'lr': 1 / 16,
}

if __name__ == '__main__':
    core.app_start(FLAGS)
