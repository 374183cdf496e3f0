"""exper-adversarial-digits-const with a budget that grows to 0.225 along half a cosine, and stays at 0.15.

    ./run.sh exper-adversarial-digits-cosine
"""

import core

FLAGS = {
    'like': 'exper-adversarial-digits-const',
    'objective.eps': {'by': 'epoch', 'schedule': {
        'type': 'cycle_cos', 'eps_min': 0.0, 'eps_max': 0.225, 'ckpt_list': [0, 24], 'max': 0.15}},
}

if __name__ == '__main__':
    core.app_start(FLAGS)
