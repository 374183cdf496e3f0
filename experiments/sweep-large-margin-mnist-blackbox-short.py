"""sweep-large-margin-mnist-blackbox on 2,500 images with two seeds, for a machine without a GPU.

    ./run.sh  sweep-large-margin-mnist-blackbox-short
    ./plot.sh figure-large-margin-blackbox logs/sweep-large-margin-mnist-blackbox-short
"""

import core

SWEEP = {
    'like': 'sweep-large-margin-mnist-blackbox',
    'base': {'train_N': 2500, 'test_N': 500, 'E': 8},
    'seeds': [1, 2],
}

if __name__ == '__main__':
    core.sweep_start(SWEEP)
