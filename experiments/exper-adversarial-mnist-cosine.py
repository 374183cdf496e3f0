"""exper-adversarial-mnist-const with a budget that grows from 0 to 0.6 along half a cosine, and stays at 0.4.

    ./run.sh exper-adversarial-mnist-cosine --gpu 0
"""

import core

FLAGS = {
    'like': 'exper-adversarial-mnist-const',
    'objective.eps': {'by': 'epoch', 'schedule': {
        'type': 'cycle_cos', 'eps_min': 0.0, 'eps_max': 0.6, 'ckpt_list': [0, 100], 'max': 0.4}},
}

if __name__ == '__main__':
    core.app_start(FLAGS)
