"""eval-pas-apgd-ce up the difference of logits ratio, which does not depend on the scale of the logits.

    ./eval.sh eval-pas-apgd-dlr logs/RUN --gpu 0
    ./eval.sh eval-pas-apgd-dlr logs/RUN --set eps=8/255
"""

import core

FLAGS = {
    'like': 'eval-pas-apgd-ce',
    'attack_options.loss': 'dlr',
}

if __name__ == '__main__':
    core.app_start(FLAGS)
