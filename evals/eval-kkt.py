"""How near the archived epochs are to a KKT point of the max-margin problem: the residuals epsilon and delta of the
paper's Definition C.6, the cosine between the parameters and the negative gradient, support vectors by multiplier mass,
drift of the direction.

    ./eval.sh eval-kkt logs/RUN --gpu 0
    ./plot.sh figure-theory logs/RUN
"""

import core

FLAGS = {
    'task': 'kkt',
    'eid': 'all',
}

if __name__ == '__main__':
    core.app_start(FLAGS)
