"""The curvature of the training loss at archived epochs, in units of the loss, down to losses of 1e-880: the largest
and smallest eigenvalues of the Hessian, the largest of its Gauss-Newton matrix, density and trace of both, and the rate
times the largest, whose edge of stability in gradient descent is 2.

    ./eval.sh eval-hessian logs/RUN --gpu 0
    ./eval.sh eval-hessian logs/RUN --set eid=last --set options.k=10 --set attack_N=1000
    ./plot.sh figure-hessian logs/RUN
"""

import core

FLAGS = {
    'task': 'hessian',
    'eid': 'all',
    'attack_set': 'train',
    'attack_N': 'all',
    'options': {'k': 5, 'probes': 5, 'steps': 40},
}

if __name__ == '__main__':
    core.app_start(FLAGS)
