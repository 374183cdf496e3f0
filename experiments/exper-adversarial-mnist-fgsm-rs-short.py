"""exper-adversarial-mnist-const-short by single steps from random starts (Wong, Rice & Kolter,
arXiv 2001.03994).

    ./run.sh exper-adversarial-mnist-fgsm-rs-short
"""

import core

FLAGS = {
    'like': 'exper-adversarial-mnist-const-short',
    'objective': {'type': 'fgsm-rs', 'eps': 0.3},
}

if __name__ == '__main__':
    core.app_start(FLAGS)
