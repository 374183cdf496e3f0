"""exper-mma-cifar-inf-20 without the clean loss: OMMA training (Ding et al., arXiv 1812.02637).

    ./run.sh exper-omma-cifar-inf-20 --gpu 0
"""

import core

FLAGS = {
    'like': 'exper-mma-cifar-inf-20',
    'objective.c': 0.0,
}

if __name__ == '__main__':
    core.app_start(FLAGS)
