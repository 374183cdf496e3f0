"""For each image, a radius within which nothing can change its class: a lower bound of what the attacks bound from
above. By default the gap of the logits over the network's Lipschitz constant, in L2; docs/certificates.md says what
the methods 'local', 'crown', 'alpha' and 'best' are and cost.

    ./eval.sh eval-certified logs/RUN --gpu 0
    ./eval.sh eval-certified logs/RUN --set options.method=crown --set attack_N=100
    ./eval.sh eval-certified logs/RUN --set options.method=best --set options.seconds_per_image=0.5 --set norm=Linf
"""

import core

FLAGS = {
    'task': 'certify',
    'eid': 'last',
    'attack_set': 'train',
    'attack_N': 'all',
}

if __name__ == '__main__':
    core.app_start(FLAGS)
