"""exper-ascent-mnist with a bias in every layer; no norm counts those of later layers, and they follow the norms.

    ./run.sh exper-ascent-mnist-biased --gpu 0
"""

import core
from models import BiasMode

FLAGS = {
    'like': 'exper-ascent-mnist',
    'model.bias_mode': BiasMode.ALL,
}

if __name__ == '__main__':
    core.app_start(FLAGS)
