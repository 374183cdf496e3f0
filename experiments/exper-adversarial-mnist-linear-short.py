"""exper-adversarial-mnist-const-short with a budget that grows by 0.05 an epoch, and stays at 0.3 from the 6th on.

    ./run.sh exper-adversarial-mnist-linear-short
"""

import core

FLAGS = {
    'like': 'exper-adversarial-mnist-const-short',
    'objective.eps': {'by': 'batch', 'schedule': {'type': 'linear', 'start_v': 0.0, 'slope': 0.6 / 12, 'max': 0.3}},
}

if __name__ == '__main__':
    core.app_start(FLAGS)
