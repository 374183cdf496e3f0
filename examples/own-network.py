"""A network of one's own, of dense layers.

    ./run.sh examples/own-network.py --set model.width=100
"""

import core
from models import SimpleSequential


def dense(name, input_shape, width: int = 50, depth: int = 2, train_mode=None, seed=None):
    """``depth`` layers of ``width`` units, and one of ten."""
    description = [['F', width]] * depth + [['F', 10, {'act': False}]]
    return SimpleSequential(name, input_shape, description, train_mode=train_mode, seed=seed,
                            init={'weight': 'he_normal'})


core.register('network', 'dense', dense)
FLAGS = {'like': 'exper-quickstart-digits', 'arch': 'dense', 'model': {'width': 64}, 'E': 20}

if __name__ == '__main__':
    core.app_start(FLAGS)
