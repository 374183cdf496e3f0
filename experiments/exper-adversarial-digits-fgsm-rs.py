"""exper-adversarial-digits-const by single steps from random starts (Wong, Rice & Kolter,
arXiv 2001.03994).

    ./run.sh exper-adversarial-digits-fgsm-rs
"""

import core

FLAGS = {
    'like': 'exper-adversarial-digits-const',
    'objective': {'type': 'fgsm-rs', 'eps': 0.15},
}

if __name__ == '__main__':
    core.app_start(FLAGS)
