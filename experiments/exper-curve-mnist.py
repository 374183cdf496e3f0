"""A Bezier curve between the weights of two runs on MNIST, of any architecture (Liu et al., arXiv 2006.08403).

    ./run.sh exper-curve-mnist --ends logs/A --ends logs/B --gpu 0
"""

import core

FLAGS = {
    'like': 'exper-curve-digits',
    'lr': 1e-4,
    'E': 50,
    'B': 128,
    'threads': None,
}

if __name__ == '__main__':
    core.app_start(FLAGS)
