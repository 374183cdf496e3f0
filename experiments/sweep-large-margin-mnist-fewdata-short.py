"""sweep-large-margin-mnist-fewdata up to 1,100 images, with two seeds, for a machine without a GPU.

    ./run.sh  sweep-large-margin-mnist-fewdata-short
    ./plot.sh figure-large-margin-fewdata logs/sweep-large-margin-mnist-fewdata-short
"""

import core

SWEEP = {
    'like': 'sweep-large-margin-mnist-fewdata',
    'base': {'test_N': 1000},
    'axes': {
        'fraction': {
            '0.00125': {'train_fraction': 0.00125, 'B': 10, 'E': 50},
            '0.005': {'train_fraction': 0.005, 'B': 25, 'E': 20},
            '0.02': {'train_fraction': 0.02, 'B': 50, 'E': 10},
        },
    },
    'seeds': [1, 2],
}

if __name__ == '__main__':
    core.sweep_start(SWEEP)
