"""exper-adversarial-mnist-const-short by Free adversarial training (Shafahi et al., arXiv 1904.12843): every
batch is replayed four times, in half as many epochs.

    ./run.sh exper-adversarial-mnist-free-short
"""

import core

FLAGS = {
    'like': 'exper-adversarial-mnist-const-short',
    'objective': {'type': 'free', 'eps': 0.3, 'replays': 4},
    'E': 6,
}

if __name__ == '__main__':
    core.app_start(FLAGS)
