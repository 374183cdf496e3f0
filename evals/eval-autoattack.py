"""AutoAttack, the standard version (Croce & Hein, arXiv 2003.01690), of the first 1,000 test images within an
L-infinity budget of 8/255; summary.json says which attack broke how many.

    ./eval.sh eval-autoattack logs/RUN --gpu 0
    ./eval.sh eval-autoattack logs/A logs/B logs/C    (their ensemble; --set ensemble=False measures each by itself)
    ./eval.sh eval-autoattack logs/RUN --set norm=L2 --set eps=0.5
    ./eval.sh eval-autoattack logs/RUN --set eps=4/255 --set attack_options.version=plus
"""

import core

FLAGS = {
    'task': 'attack',
    'eid': 'best',  # of a run that keeps none, the last
    'ensemble': True,
    'attack_type': core.AttackType.AUTO_ATTACK,
    'attack_set': 'test',
    'attack_N': 1000,
    'attack_B': 128,
    'norm': 'Linf',
    'eps': 8 / 255,
    'attack_options': {'version': 'standard'},
}

if __name__ == '__main__':
    core.app_start(FLAGS)
