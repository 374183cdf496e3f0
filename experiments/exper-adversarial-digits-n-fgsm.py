"""exper-adversarial-digits-const by single steps from noise of twice the budget (de Jorge et al.,
arXiv 2202.01181).

    ./run.sh exper-adversarial-digits-n-fgsm
"""

import core

FLAGS = {
    'like': 'exper-adversarial-digits-const',
    'objective': {'type': 'n-fgsm', 'eps': 0.15},
}

if __name__ == '__main__':
    core.app_start(FLAGS)
