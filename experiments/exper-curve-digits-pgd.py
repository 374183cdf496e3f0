"""exper-curve-digits between two runs that were trained adversarially: each point is trained on what PGD makes of the
images there (Liu et al., arXiv 2006.08403).

    ./run.sh exper-adversarial-digits-const --seed 1 --log logs/A
    ./run.sh exper-adversarial-digits-const --seed 2 --log logs/B
    ./run.sh exper-curve-digits-pgd --ends logs/A --ends logs/B
"""

import core

FLAGS = {
    'like': 'exper-curve-digits',
    'objective': {'type': 'curve', 'of': {'type': 'adversarial', 'norm': 'Linf', 'eps': 0.15, 'k': 10, 'step': 2.5,
                                          'start': 'step'}},
    'lr': 2e-3,
    'E': 24,
}

if __name__ == '__main__':
    core.app_start(FLAGS)
