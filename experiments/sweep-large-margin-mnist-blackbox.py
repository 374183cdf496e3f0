"""Elsayed et al. (arXiv 1803.05598), section 4.3: accuracy of MNIST networks under FGSM and IFGSM, made on a network
that was trained independently, from another seed, with the cross entropy.

    ./run.sh  sweep-large-margin-mnist-blackbox --gpu 0
    ./plot.sh figure-large-margin-blackbox logs/sweep-large-margin-mnist-blackbox

12 runs of 20 epochs. sweep-large-margin-mnist-blackbox-short is a small part of it, for a machine without a GPU.
"""

import core

SOURCE = {'run': {'loss': 'cross entropy', 'seed': 'next'}}
EPS = [0.05, 0.1, 0.15, 0.2, 0.25, 0.3]
FGSM = {'task': 'transfer', 'attack_type': 'FGSM', 'attack_eps_list': EPS, 'attack_set': 'test', 'attack_B': 250,
        'source': SOURCE}
IFGSM = {**FGSM, 'attack_type': 'IFGSM', 'attack_K': 10, 'lr': 0.1}

SWEEP = {
    'like': 'sweep-large-margin-mnist-noisy',
    'axes': {'noise': {'0': {}}},
    'evaluations': {'eval-blackbox-fgsm': FGSM, 'eval-blackbox-ifgsm': IFGSM},
}

if __name__ == '__main__':
    core.sweep_start(SWEEP)
