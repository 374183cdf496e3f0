"""exper-adversarial-mnist-const-short by single steps from noise of twice the budget (de Jorge et al.,
arXiv 2202.01181).

    ./run.sh exper-adversarial-mnist-n-fgsm-short
"""

import core

FLAGS = {
    'like': 'exper-adversarial-mnist-const-short',
    'objective': {'type': 'n-fgsm', 'eps': 0.3},
}

if __name__ == '__main__':
    core.app_start(FLAGS)
