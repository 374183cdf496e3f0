"""Square, 5,000 queries, on the images and within the budget of eval-pas-pgd, a column of table-pas: no gradient is
asked for. (Squares and their sizes are as in the released code with attack_options.released=True and .rescale=False.)

    ./eval.sh eval-pas-square logs/RUN --gpu 0
    ./eval.sh eval-pas-square logs/RUN --set eps=8/255
"""

import core

FLAGS = {
    'like': 'eval-pas-pgd',
    'attack_type': core.AttackType.SQUARE,
    'attack_K': 5000,
    'attack_E': None,
    'lr': None,
    'attack_options': {},
}

if __name__ == '__main__':
    core.app_start(FLAGS)
