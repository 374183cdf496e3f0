"""Accuracy on the test set under IFGSM, white box: L-infinity adversarial images of given sizes, made on the network
itself by steps along the signs of the gradient (Kurakin, Goodfellow & Bengio, arXiv 1607.02533).

    ./eval.sh eval-whitebox-ifgsm logs/RUN --gpu 0
"""

import core

FLAGS = {
    'task': 'transfer',
    'eid': 'last',
    'attack_type': core.AttackType.IFGSM,
    'attack_set': 'test',
    'attack_N': 'all',
    'attack_B': 128,
    'attack_K': 10,
    'lr': 0.1,  # size of a step, in units of eps
}

if __name__ == '__main__':
    core.app_start(FLAGS)
