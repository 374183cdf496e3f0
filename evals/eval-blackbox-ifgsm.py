"""Accuracy on the test set under IFGSM, black box: L-infinity adversarial images of given sizes, made on the network of
another run, such as one trained with the cross entropy and another seed (as in Elsayed et al., arXiv 1803.05598).

    ./eval.sh eval-blackbox-ifgsm logs/RUN --gpu 0 --set source=logs/SOURCE
"""

import core

FLAGS = {
    'task': 'transfer',
    'eid': 'last',
    'source': '',  # to be named on the command line
    'attack_type': core.AttackType.IFGSM,
    'attack_set': 'test',
    'attack_N': 'all',
    'attack_B': 128,
    'attack_K': 10,
    'lr': 0.1,  # size of a step, in units of eps
}

if __name__ == '__main__':
    core.app_start(FLAGS)
