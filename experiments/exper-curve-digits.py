"""A curve between the weights of two runs, Bezier with one bend, along which the loss is low (Garipov et al., arXiv
1802.10026): network and data are theirs, so this is for any small network.

    ./run.sh exper-quickstart-digits --seed 1 --set E=60 --log logs/A
    ./run.sh exper-quickstart-digits --seed 2 --set E=60 --log logs/B
    ./run.sh exper-curve-digits --ends logs/A --ends logs/B
    ./eval.sh eval-curve logs/exper-curve-digits/DATE
    ./plot.sh figure-curve logs/exper-curve-digits/DATE

Each batch draws a point of the curve; what the history says of the network is at the middle of it.
"""

import core
from models import TrainMode

FLAGS = {
    'arch': 'curve',
    'model': {'bends': 1, 'chain': 'bezier', 'opt': 'torch-adam'},
    'objective': 'curve',
    'train_mode': TrainMode.NORMAL,
    'lr': 3e-3,
    'E': 100,
    'B': 50,
    'archive': 'idle',
    'print': False,
    'threads': 1,
}

if __name__ == '__main__':
    core.app_start(FLAGS)
