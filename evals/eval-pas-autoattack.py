"""AutoAttack, the standard version, on the images and within the budget of eval-pas-pgd, a column of table-pas.

    ./eval.sh eval-pas-autoattack logs/RUN --gpu 0
    ./eval.sh eval-pas-autoattack logs/RUN --set eps=8/255 --set attack_N=1000
"""

import core

FLAGS = {
    'like': 'eval-pas-pgd',
    'attack_type': core.AttackType.AUTO_ATTACK,
    'attack_K': None,
    'attack_E': None,
    'lr': None,
    'attack_options': {'version': 'standard'},
}

if __name__ == '__main__':
    core.app_start(FLAGS)
