"""Auto-PGD up the cross entropy on the images and within the budget of eval-pas-pgd, a column of table-pas: the
standard form of its authors. (As released with arXiv 2006.08403, with five restarts: attack_options.released=True.)

    ./eval.sh eval-pas-apgd-ce logs/RUN --gpu 0
    ./eval.sh eval-pas-apgd-ce logs/RUN --set eps=8/255
"""

import core

FLAGS = {
    'like': 'eval-pas-pgd',
    'attack_type': core.AttackType.APGD,
    'attack_K': 100,
    'attack_E': None,
    'lr': None,
    'attack_options': {'loss': 'xent'},
}

if __name__ == '__main__':
    core.app_start(FLAGS)
