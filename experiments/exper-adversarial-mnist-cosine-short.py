"""exper-adversarial-mnist-const-short with a budget that grows to 0.45 along half a cosine, and stays at 0.3.

    ./run.sh exper-adversarial-mnist-cosine-short
"""

import core

FLAGS = {
    'like': 'exper-adversarial-mnist-const-short',
    'objective.eps': {'by': 'batch', 'schedule': {
        'type': 'cycle_cos', 'eps_min': 0.0, 'eps_max': 0.45, 'ckpt_list': [0, 12], 'max': 0.3}},
}

if __name__ == '__main__':
    core.app_start(FLAGS)
