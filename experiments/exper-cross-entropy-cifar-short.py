"""exper-cross-entropy-cifar on the first 1,000 images, for a look in minutes on 2 CPU cores.

    ./run.sh exper-cross-entropy-cifar-short
"""

import core

FLAGS = {
    'like': 'exper-cross-entropy-cifar',
    'train_N': 1000,
    'test_N': 1000,
    'augment': None,
    'archive': 5,
    'E': 10,
    'B': 50,
}

if __name__ == '__main__':
    core.app_start(FLAGS)
