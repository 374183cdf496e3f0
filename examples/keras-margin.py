"""A plain Keras model, trained by fit at the paper's loss-based rate, and its margin over the epochs.

    python examples/keras-margin.py [--epochs N] [--out FILE]     (with the environment that run.sh makes)

Draws the training loss and the normalised margin of a small CNN on scikit-learn's digits.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from core import get_dataset  # noqa: E402  (imports TensorFlow quietly, so it comes first)
from models import HPSparseSoftmaxCrossEntropy, LossBasedLR, MarginMonitor  # noqa: E402

import keras  # noqa: E402  isort: skip
from matplotlib.figure import Figure  # noqa: E402  isort: skip

BATCH_SIZE = 14  # divides the 1,442 images: fit would give a smaller last batch the weight of a whole one


def train(epochs: int) -> MarginMonitor:
    """Trains for a number of attempts at an epoch."""
    (x, y), _ = get_dataset('digits')
    keras.utils.set_random_seed(1)
    options = {'use_bias': False, 'kernel_initializer': 'he_normal'}
    net = keras.Sequential([
        keras.Input((8, 8, 1)),
        keras.layers.Conv2D(16, 3, strides=2, padding='same', activation='relu', **options),
        keras.layers.Flatten(),
        keras.layers.Dense(64, activation='relu', **options),
        keras.layers.Dense(10, **options),
    ])
    # With a frame no loss is too small, whatever the number of epochs. The steps are small, so Keras is to take an
    # epoch of them in one call.
    net.compile(keras.optimizers.SGD(), HPSparseSoftmaxCrossEntropy(log_frame=0.0),
                steps_per_execution=len(x) // BATCH_SIZE)
    # Here half of the attempts are rejected; with the paper's alpha2 of 2 ** (1 / 10), two thirds.
    rate, monitor = LossBasedLR(x, y, alpha2=2 ** (1 / 5)), MarginMonitor(x, y)
    history = net.fit(x, y, batch_size=BATCH_SIZE, epochs=epochs, callbacks=[rate, monitor], verbose=0).history
    print(f'{epochs} attempts, {sum(history["accepted"])} accepted: loss 10^{rate.log_loss / math.log(10):.1f}, '
          f'normalised margin {monitor.stats["q_bar2_min"]:.2e}')
    return monitor


def draw(monitor: MarginMonitor) -> Figure:
    """Draws the loss (powers of ten, from log_loss), and the normalised margin with its smoothed version."""
    figure = Figure(figsize=(5, 4.2), layout='constrained')
    axes = figure.subplots(2, 1, sharex=True)
    attempts = range(1, len(monitor.history['log_loss']) + 1)
    axes[0].plot(attempts, [v / math.log(10) for v in monitor.history['log_loss']], color='#0072B2')
    axes[0].yaxis.get_major_locator().set_params(integer=True)
    axes[0].yaxis.set_major_formatter(lambda v, _: f'$10^{{{v:g}}}$')
    axes[0].set_ylabel('training loss')
    axes[1].plot(attempts, monitor.history['q_bar2_min'], color='#D55E00', label='of the worst sample')
    axes[1].plot(attempts, monitor.history['smoothed_margin2'], color='#D55E00', linestyle=':', label='smoothed')
    axes[1].set_ylim(bottom=1.1 * min(0, *monitor.history['q_bar2_min']))
    axes[1].axhline(0, color='0.8', linewidth=0.8, zorder=0)
    axes[1].set_ylabel('normalised margin')
    axes[1].set_xlabel('epoch of fit, rejected ones included')
    axes[1].legend(frameon=False, fontsize='small', loc='lower right')
    for ax in axes:
        ax.spines[['top', 'right']].set_visible(False)
    figure.align_ylabels(axes)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--epochs', type=int, default=250, help='attempts at an epoch (default: 250)')
    parser.add_argument('--out', type=Path, default=Path('keras-margin.png'), help='file of the figure')
    arguments = parser.parse_args()
    if arguments.epochs < 1:
        parser.error('--epochs must be at least 1')
    if not arguments.out.absolute().parent.is_dir():
        parser.error(f'there is no directory {arguments.out.parent}')
    figure = draw(train(arguments.epochs))
    figure.savefig(arguments.out, dpi=200)
    print(f'{arguments.out} written')


if __name__ == '__main__':
    main()
