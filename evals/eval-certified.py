"""For each image, an L2 radius within which nothing can change its class: the gap of the logits over the network's
Lipschitz constant. A lower bound of what the attacks bound from above.

    ./eval.sh eval-certified logs/RUN --gpu 0
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
