"""The digits by a network of orthogonal layers, 1-Lipschitz up to the last: its margin over the norm of that layer is
the margin that is certified. No download, no GPU.

    ./run.sh exper-orthogonal-digits
    ./eval.sh eval-sandwich logs/RUN --set attack_N=100 --set options.method=lipschitz
"""

import core

FLAGS = {
    'like': 'exper-quickstart-digits',
    'E': 30,
    'archive': 10,
    'model.description': [
        ['OC', 16, [2, 2]],
        ['OC', 64, [2, 2]],
        ['OF', 128],
        ['F', 10, {'act': False}],
    ],
    'model.act_type': 'maxmin',
}

if __name__ == '__main__':
    core.app_start(FLAGS)
