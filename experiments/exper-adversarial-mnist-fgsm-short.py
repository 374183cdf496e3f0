"""exper-adversarial-mnist-const-short by single steps from the images themselves, which may overfit to them: the
alarm in docs/adversarial.md.

    ./run.sh exper-adversarial-mnist-fgsm-short
"""

import core

FLAGS = {
    'like': 'exper-adversarial-mnist-const-short',
    'objective': {'type': 'adversarial', 'eps': 0.3, 'k': 1, 'step': 1.0, 'random_start': False},
}

if __name__ == '__main__':
    core.app_start(FLAGS)
