"""Two small CNNs, one trained by cross entropy and one by MMA, in Keras's fit, and how far their boundaries are.

    python examples/keras-mma.py [--epochs N]     (with the environment that run.sh makes)
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from core import get_dataset  # noqa: E402  (imports TensorFlow quietly, so it comes first)
from models import ObjectiveModel  # noqa: E402
from models.attacks import ANPGD  # noqa: E402
from models.objectives import MMA, CrossEntropy  # noqa: E402

import keras  # noqa: E402  isort: skip

parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
parser.add_argument('--epochs', type=int, default=8, help='epochs of each training (default: 8)')
epochs = parser.parse_args().epochs
(x, y), (x_test, y_test) = get_dataset('digits')
for objective in (CrossEntropy(), MMA(hinge=0.3, k=5)):
    keras.utils.set_random_seed(1)
    net = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(16, 3, activation='relu'),
                            keras.layers.Flatten(), keras.layers.Dense(10)])
    model = ObjectiveModel(net, objective)
    model.compile(keras.optimizers.Adam(0.003), metrics=['accuracy'])
    model.fit(x, y, batch_size=50, epochs=epochs, validation_data=(x_test, y_test), verbose=2)
    margins, *_ = ANPGD(net, 'Linf', eps=0.3, k=20).measure(x_test, y_test, 0)
    print(f'{type(objective).__name__}: accuracy {model.evaluate(x_test, y_test, verbose=0)[1]:.3f}, '
          f'mean margin {margins.mean():.3f}')
