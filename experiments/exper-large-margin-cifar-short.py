"""exper-large-margin-cifar on the first 1,000 images, for a look in minutes on 2 CPU cores.

    ./run.sh exper-large-margin-cifar-short
"""

import core

FLAGS = {
    'like': 'exper-large-margin-cifar',
    'train_N': 1000,
    'test_N': 1000,
    'augment': None,
    'archive': 5,
    'E': 10,
    'B': 50,
}

if __name__ == '__main__':
    core.app_start(FLAGS)
