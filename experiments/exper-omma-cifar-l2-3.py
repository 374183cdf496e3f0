"""exper-mma-cifar-l2-3 without the clean loss: OMMA training (Ding et al., arXiv 1812.02637).

    ./run.sh exper-omma-cifar-l2-3 --gpu 0
"""

import core

FLAGS = {
    'like': 'exper-mma-cifar-l2-3',
    'objective.c': 0.0,
}

if __name__ == '__main__':
    core.app_start(FLAGS)
