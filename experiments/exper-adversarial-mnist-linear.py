"""exper-adversarial-mnist-const with a budget that grows by 0.008 an epoch, and stays at 0.4 from the 50th on.

    ./run.sh exper-adversarial-mnist-linear --gpu 0
"""

import core

FLAGS = {
    'like': 'exper-adversarial-mnist-const',
    'objective.eps': {'by': 'epoch', 'schedule': {'type': 'linear', 'start_v': 0.0, 'slope': 0.8 / 100, 'max': 0.4}},
}

if __name__ == '__main__':
    core.app_start(FLAGS)
