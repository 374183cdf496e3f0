"""A network of one's own, of dense layers.

    ./run.sh examples/own-network.py --set model.width=100
"""

import core
from models.networks.simple_sequential import simple_sequential


def dense(input_shape, width: int = 50, depth: int = 2, seed=None):
    """``depth`` layers of ``width`` units, and one of ten. A Keras model from images to logits would do as well."""
    description = [['F', width]] * depth + [['F', 10, {'act': False}]]
    return simple_sequential(input_shape, description, init={'weight': 'he_normal'}, seed=seed)


core.register('network', 'dense', dense)
FLAGS = {'like': 'exper-quickstart-digits', 'arch': 'dense', 'model': {'width': 64}, 'E': 20}

if __name__ == '__main__':
    core.app_start(FLAGS)
