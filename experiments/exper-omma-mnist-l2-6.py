"""exper-mma-mnist-l2-6 without the clean loss: OMMA training (Ding et al., arXiv 1812.02637).

    ./run.sh exper-omma-mnist-l2-6 --gpu 0
"""

import core

FLAGS = {
    'like': 'exper-mma-mnist-l2-6',
    'objective.c': 0.0,
}

if __name__ == '__main__':
    core.app_start(FLAGS)
