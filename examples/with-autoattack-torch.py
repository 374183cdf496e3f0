"""AutoAttack as its authors wrote it, for PyTorch, on the network of a run, which stays in TensorFlow.

    python examples/with-autoattack-torch.py logs/RUN --eps 0.1 --images 100

Beside the environment that run.sh makes it needs the extra 'peers' (torch), and the authors' package, which no registry
has: the error says where it is. ./eval.sh eval-autoattack logs/RUN makes the same attacks without either.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from core import UserError  # noqa: E402


def as_torch(net: Any) -> Any:
    """A Keras model of images NHWC as a module of PyTorch of images NCHW, float32 on the CPU.

    Calls go to the Keras model, in inference; gradients with respect to the images are its own, of whatever is made of
    the logits. PyTorch sees no weights.
    """
    import tensorflow as tf
    import torch

    shape = tf.TensorSpec([None, *net.input_shape[1:]], tf.float32)

    @tf.function(input_signature=[shape])
    def logits(x):
        return tf.cast(net(x, training=False), tf.float32)

    @tf.function(input_signature=[shape, tf.TensorSpec([None, net.output_shape[-1]], tf.float32)])
    def pulled_back(x, up):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            out = tf.cast(net(x, training=False), tf.float32)
        return tape.gradient(out, x, up, unconnected_gradients='zero')

    class Call(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(x)
            return torch.from_numpy(logits(nhwc(x)).numpy().copy())

        @staticmethod
        def backward(ctx: Any, *up: torch.Tensor) -> torch.Tensor:
            gradient = pulled_back(nhwc(*ctx.saved_tensors), up[0].detach().numpy()).numpy()
            return torch.from_numpy(gradient.transpose(0, 3, 1, 2).copy())

    class OfKeras(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return Call.apply(x.float())

    def nhwc(x: torch.Tensor) -> Any:
        return x.detach().permute(0, 2, 3, 1).contiguous().numpy()
    return OfKeras().eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('run', help='its working directory')
    parser.add_argument('--eps', type=float, required=True, help='the budget, in pixels of [0, 1]')
    parser.add_argument('--norm', default='Linf', choices=['Linf', 'L2', 'L1'], help='(default: %(default)s)')
    parser.add_argument('--images', type=int, default=100, help='of the test set (default: %(default)s)')
    parser.add_argument('--batch', type=int, default=250, help='images per batch (default: %(default)s)')
    parser.add_argument('--version', default='standard', choices=['standard', 'plus', 'rand'])
    parser.add_argument('--attacks', nargs='+', help="in place of a version: apgd-ce, apgd-t, fab-t, square ...")
    parser.add_argument('--eid', default='best', help='the epoch (default: %(default)s, else the last)')
    parser.add_argument('--gpu', help="TensorFlow's: a GPU's index, or 'cpu' (default: GPU 0 if there is one)")
    parser.add_argument('--data_dir', help="TensorFlow Datasets' directory (default: TFDS_DATA_DIR, or TFDS's own)")
    parser.add_argument('--seed', type=int, default=0)
    given = parser.parse_args()
    try:
        report(given)
    except UserError as e:
        sys.exit(f'error: {e}')


def report(given: argparse.Namespace) -> None:
    try:
        import torch
    except ImportError:
        raise UserError("PyTorch is not installed: pip install torch, or the extra 'peers' of setup.py") from None
    try:
        from autoattack import AutoAttack
    except ImportError:
        raise UserError("the authors' AutoAttack is not installed, and is in no registry: "
                        'pip install git+https://github.com/fra31/auto-attack') from None
    from core.trained import trained
    eid = int(given.eid) if given.eid.isdigit() else given.eid
    run = trained(given.run, eid, given.images or None, given.gpu, given.data_dir)
    images = torch.from_numpy(run.images.transpose(0, 3, 1, 2).copy())
    labels = torch.from_numpy(run.labels.astype('int64'))
    chosen = {'version': 'custom', 'attacks_to_run': given.attacks} if given.attacks else {'version': given.version}
    net = as_torch(run.model.net)
    attack = AutoAttack(net, given.norm, given.eps, seed=given.seed, device='cpu', **chosen)
    start = time.perf_counter()
    with torch.no_grad():
        clean = (net(images).argmax(1) == labels).float().mean().item()
    _, classes = attack.run_standard_evaluation(images, labels, bs=given.batch, return_labels=True)
    print(f'epoch {run.eid}, {len(labels)} test images of {run.dataset}: accuracy {100 * clean:.2f} %, '
          f'{100 * (classes == labels).float().mean().item():.2f} % under the authors\' AutoAttack within {given.norm} '
          f'{given.eps:g} [time={time.perf_counter() - start:.1f}s]')


if __name__ == '__main__':
    main()
