"""How near the archived epochs are to a KKT point of the max-margin problem: the residuals epsilon and delta of the
paper's Definition C.6, the cosine between the parameters and the negative gradient, support vectors by multiplier mass,
drift of the direction.

    ./eval.sh eval-kkt logs/RUN --gpu 0
    ./plot.sh figure-theory logs/RUN

The multipliers are those of the loss, at the scale that the weights have; --set options.sharpness=300 scales them so
that the smallest margin is 300, at which runs of margin ascent and of a loss-based rate can be compared.
"""

import core

FLAGS = {
    'task': 'kkt',
    'eid': 'all',
}

if __name__ == '__main__':
    core.app_start(FLAGS)
