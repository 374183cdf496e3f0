"""sweep-large-margin-mnist-noisy on 2,500 images with one seed, for a machine without a GPU.

    ./run.sh  sweep-large-margin-mnist-noisy-short
    ./plot.sh figure-large-margin-noisy logs/sweep-large-margin-mnist-noisy-short
"""

import core

SWEEP = {
    'like': 'sweep-large-margin-mnist-noisy',
    'base': {'train_N': 2500, 'test_N': 2000, 'E': 6, 'B': 25},
    'seeds': [1],
}

if __name__ == '__main__':
    core.sweep_start(SWEEP)
