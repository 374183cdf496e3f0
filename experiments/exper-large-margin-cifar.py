"""CIFAR-10, a residual network trained with the large margin loss, l2, at the images and the outputs of the three
stages (Elsayed et al., arXiv 1803.05598).

    ./run.sh exper-large-margin-cifar --gpu 0
"""

import core

FLAGS = {
    'like': 'exper-cross-entropy-cifar',
    'objective': {
        'type': 'large-margin',
        'layers': ['input', 'stage1', 'stage2', 'stage3'],
        'norm': 2,
        'gamma': 1.0,
        'top_k': 1,
        'eps': 1e-2,  # a sample whose gradients all but vanish does not outweigh its batch
    },
}

if __name__ == '__main__':
    core.app_start(FLAGS)
