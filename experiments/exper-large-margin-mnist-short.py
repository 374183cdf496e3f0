"""exper-large-margin-mnist on 5,000 images for 5 epochs, for a machine without a GPU.

    ./run.sh exper-large-margin-mnist-short
"""

import core

FLAGS = {
    'like': 'exper-large-margin-mnist',
    'train_N': 5000,
    'test_N': 2000,
    'E': 5,
}

if __name__ == '__main__':
    core.app_start(FLAGS)
