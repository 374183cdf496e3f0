"""exper-cross-entropy-mnist-lenet on 5,000 images for 400 steps, for a machine without a GPU.

    ./run.sh exper-cross-entropy-mnist-lenet-short
"""

import core

FLAGS = {
    'like': 'exper-mma-mnist-inf-short',
    'objective': 'cross-entropy',
}

if __name__ == '__main__':
    core.app_start(FLAGS)
