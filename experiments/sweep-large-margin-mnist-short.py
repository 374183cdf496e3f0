"""sweep-large-margin-mnist on 2,500 images with one seed, for a machine without a GPU.

    ./run.sh  sweep-large-margin-mnist-short
"""

import core

SWEEP = {
    'like': 'sweep-large-margin-mnist',
    'base': {'train_N': 2500, 'test_N': 2000, 'E': 8},
    'seeds': [1],
}

if __name__ == '__main__':
    core.sweep_start(SWEEP)
