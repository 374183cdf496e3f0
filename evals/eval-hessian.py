"""The curvature of the training loss at archived epochs, in units of the loss, down to losses of 1e-880: the largest
and smallest eigenvalues of the Hessian, the largest of its Gauss-Newton matrix, density and trace of both, and the rate
times the largest, whose edge of stability in gradient descent is 2.

    ./eval.sh eval-hessian logs/RUN --gpu 0
    ./eval.sh eval-hessian logs/RUN --set eid=last --set options.k=10 --set attack_N=1000
    ./eval.sh eval-hessian logs/RUN --set eid=last --set eps=0.1        # of the adversarial loss
    ./plot.sh figure-hessian logs/RUN
    ./plot.sh figure-edge logs/RUN

With a budget, eps, each image is replaced by what an attack makes of it, here by ten steps up the cross entropy as in
adversarial training; attack_type, attack_options and the like choose another.
"""

import core

FLAGS = {
    'task': 'hessian',
    'eid': 'all',
    'attack_set': 'train',
    'attack_N': 'all',
    'attack_type': core.AttackType.LOSS_PGD,
    'attack_K': 10,
    'attack_E': 1,
    'lr': 0.25,  # of the budget, a step
    'attack_options': {'losses': ['xent']},
    'options': {'k': 5, 'probes': 5, 'steps': 40},
}

if __name__ == '__main__':
    core.app_start(FLAGS)
