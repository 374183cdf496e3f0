"""exper-adversarial-digits-const by Free adversarial training (Shafahi et al., arXiv 1904.12843): every
batch is replayed four times, in half as many epochs.

    ./run.sh exper-adversarial-digits-free
"""

import core

FLAGS = {
    'like': 'exper-adversarial-digits-const',
    'objective': {'type': 'free', 'eps': 0.15, 'replays': 4},
    'E': 12,
}

if __name__ == '__main__':
    core.app_start(FLAGS)
