"""Accuracy on the test set under FGSM, white box: L-infinity adversarial images of given sizes, made on the network
itself by one step along the signs of the gradient (Goodfellow, Shlens & Szegedy, arXiv 1412.6572).

    ./eval.sh eval-whitebox-fgsm logs/RUN --gpu 0
"""

import core

FLAGS = {
    'task': 'transfer',
    'eid': 'last',
    'attack_type': core.AttackType.FGSM,
    'attack_set': 'test',
    'attack_N': 'all',
    'attack_B': 128,
}

if __name__ == '__main__':
    core.app_start(FLAGS)
