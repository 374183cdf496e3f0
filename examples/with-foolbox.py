"""Foolbox on the network of a run: any of its attacks within a budget.

    python examples/with-foolbox.py logs/RUN --attack LinfPGD --eps 0.1     (with the environment that test.sh makes)

Foolbox takes the Keras model as it is. A wrong image counts as broken; --images 0 is all of the test set.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from core import UserError  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('run', help='its working directory')
    parser.add_argument('--attack', default='LinfPGD', help="a name of foolbox.attacks (default: %(default)s)")
    parser.add_argument('--eps', type=float, required=True, help="the budget, in pixels of [0, 1]")
    parser.add_argument('--images', type=int, default=100, help='of the test set (default: %(default)s)')
    parser.add_argument('--eid', default='best', help='the epoch (default: %(default)s, else the last)')
    parser.add_argument('--gpu', help="index of the GPU to use, or 'cpu' (default: GPU 0 if there is one)")
    parser.add_argument('--data_dir', help="TensorFlow Datasets' directory (default: TFDS_DATA_DIR, or TFDS's own)")
    given = parser.parse_args()
    try:
        report(given)
    except UserError as e:
        sys.exit(f'error: {e}')


def report(given: argparse.Namespace) -> None:
    try:
        import foolbox
    except ImportError:
        raise UserError("Foolbox is not installed: pip install 'foolbox>=3.3', or the extra 'test' of "
                        'setup.py') from None
    from models.types import did_you_mean
    if not hasattr(foolbox.attacks, given.attack):
        raise UserError(f'Foolbox has no attack {given.attack!r}; {did_you_mean(given.attack, dir(foolbox.attacks))}')
    import tensorflow as tf

    from core.trained import trained
    eid = int(given.eid) if given.eid.isdigit() else given.eid
    run = trained(given.run, eid, given.images or None, given.gpu, given.data_dir)
    tf.get_logger().setLevel('ERROR')  # Foolbox calls what TensorFlow deprecates
    theirs = foolbox.TensorFlowModel(run.model.net, bounds=(0, 1))
    images, labels = tf.constant(run.images), tf.constant(run.labels)
    clean = foolbox.accuracy(theirs, images, labels)
    _, _, broken = getattr(foolbox.attacks, given.attack)()(theirs, images, labels, epsilons=given.eps)
    print(f'epoch {run.eid}, {len(run.labels)} test images of {run.dataset}: accuracy {100 * clean:.2f} %, '
          f'{100 * (1 - broken.numpy().mean()):.2f} % under {given.attack} of Foolbox {foolbox.__version__} '
          f'within {given.eps:g}')


if __name__ == '__main__':
    main()
