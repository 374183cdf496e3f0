"""Large margin (Elsayed et al., arXiv 1803.05598) on MNIST: the network of four hidden layers, the L2 margin at the
images and at all hidden layers.

    ./run.sh exper-large-margin-mnist --gpu 0
    ./run.sh exper-large-margin-mnist --gpu 0 --set objective.norm=1   --set objective.gamma=20
    ./run.sh exper-large-margin-mnist --gpu 0 --set objective.norm=inf --set objective.gamma=0.2
    ./run.sh exper-large-margin-mnist --gpu 0 --set objective.layers=hidden      or "['input']"
    ./run.sh exper-large-margin-mnist --gpu 0 --set objective=cross-entropy

exper-large-margin-mnist-short takes a minute on 2 CPU cores; sweep-large-margin-mnist runs all of these.
"""

import core
from models import BiasMode

FLAGS = {
    'dataset': 'mnist',
    'arch': 'simple_sequential',
    'objective': {
        'type': 'large-margin',
        'layers': 'all',
        'norm': 2,
        'gamma': 2.0,
        'top_k': 3,
        'aggregate': 'sum',
    },
    'lr': 1e-3,
    'archive': 5,
    'E': 20,
    'B': 50,
    'model': {
        'description': [
            ['C', 32, [5, 5]],
            ['P'],
            ['C', 64, [5, 5]],
            ['P'],
            ['F', 512],
            ['F', 512],
            ['F', 10, {'act': False}],
        ],
        'bias_mode': BiasMode.ALL,
        'init': {'weight': 'he_normal'},
        'opt': 'adam',
    },
    'loss_ub': 1e9,
    'print': False,
}

if __name__ == '__main__':
    core.app_start(FLAGS)
