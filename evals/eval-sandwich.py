"""The margin of each image from both sides: a radius within which no image has another class, by linear relaxation, and
the distance at which the fast attack finds one that has. It ends with an error if they contradict each other.

    ./eval.sh eval-sandwich logs/RUN --set attack_N=100
    ./plot.sh figure-sandwich logs/RUN

The attack's flags choose another attack, and options.method another certificate; see docs/certificates.md.
"""

import core

FLAGS = {
    'task': 'sandwich',
    'eid': 'last',
    'attack_type': core.AttackType.L_2_FAST,
    'attack_set': 'train',
    'attack_N': 'all',
    'options': {'method': 'crown'},
}

if __name__ == '__main__':
    core.app_start(FLAGS)
