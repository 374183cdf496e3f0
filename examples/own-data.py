"""A data set of one's own: discs and rings. Numbers in a file need no code: --set dataset=FILE.npz.

    ./run.sh examples/own-data.py
"""

import numpy as np

import core


def discs_and_rings(data_dir, size: int = 8, images: int = 300):
    """From a directory of data, unused here, to (images, labels) for training and for testing."""
    rng = np.random.default_rng(0)
    labels = np.arange(2 * images) % 2
    centre = rng.uniform(2.5, size - 3.5, (len(labels), 2, 1, 1))
    distance = np.sqrt(np.square(np.indices((size, size)) - centre).sum(axis=1))
    ink = (distance < 2.5) & ((labels == 0)[:, None, None] | (distance > 1.2))
    x = np.clip(ink + rng.normal(0, 0.1, ink.shape), 0, 1)
    return (x[:images], labels[:images]), (x[images:], labels[images:])


core.register('data set', 'discs-and-rings', discs_and_rings)
FLAGS = {'like': 'exper-quickstart-digits', 'dataset': 'discs-and-rings', 'E': 20,
         'model.description': [['C', 8, [3, 3]], ['P'], ['F', 2, {'act': False}]]}

if __name__ == '__main__':
    core.app_start(FLAGS)
