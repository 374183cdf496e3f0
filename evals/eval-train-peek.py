"""Trains on from archived epochs at a constant rate, and keeps every training sample's margin after each epoch.

    ./eval.sh eval-train-peek logs/RUN --set eid=last --set lr=1e-6

In frame mode the rate is in units of the frame, exp(log_frame0): by default, the real loss of the archived epoch.
"""

import core

FLAGS = {
    'task': 'train_peek',
    'eid': 'last',
    'E': 5,
    'B': 100,
    'lr': 1e-6,
    'loss_ub': 600.0,
    'print': False,
}

if __name__ == '__main__':
    core.app_start(FLAGS)
