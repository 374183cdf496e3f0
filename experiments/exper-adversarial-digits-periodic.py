"""exper-adversarial-digits-const with budgets and rates that begin anew after 12 and 18 epochs.

    ./run.sh exper-adversarial-digits-periodic
"""

import core

FLAGS = {
    'like': 'exper-adversarial-digits-const',
    'model.schedule': {'type': 'cycle_jump', 'start_v': 1.0, 'power': 0.1, 'drop_point_list': [0.5, 0.75],
                       'ckpt_list': [0, 12, 18, 24], 'by': 'epoch'},
    'objective.eps': {'by': 'epoch', 'schedule': {
        'type': 'cycle_cos', 'eps_min': 0.0, 'eps_max': 0.225, 'ckpt_list': [0, 12, 18, 24], 'max': 0.15}},
}

if __name__ == '__main__':
    core.app_start(FLAGS)
