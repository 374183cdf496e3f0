"""Others' weights: a state dictionary of PyTorch as a working directory, which every evaluation takes.

    python examples/import-torch.py FILE.pt [--out DIR]     (with the environment that run.sh makes, and torch)
    ./eval.sh eval-final-mnist-test-l2-fast DIR

Takes LeNet5 and wide residual networks with the names of the released MMA training, of AdverTorch or of RobustBench.
--plain is for those that do not standardise their images, which no weights show: in RobustBench, all but Ding2020MMA.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from core import UserError  # noqa: E402


def read(file: Path) -> tuple[dict[str, Any], int]:
    """The weights of a file, float32 arrays by name, and the epoch that they are of, or 1."""
    try:
        import torch
    except ImportError:
        raise UserError("PyTorch, which reads such files, is not installed: pip install torch, or the extra 'peers' of "
                        'setup.py') from None
    from models.torch_weights import state_dictionary
    try:
        loaded = torch.load(file, map_location='cpu', weights_only=True)  # executes nothing of what it reads
    except OSError as e:
        raise UserError(f'{file} cannot be read: {e.strerror}') from None
    except Exception:  # of many kinds, and of many lines
        raise UserError(f'{file} is no file of torch.save, or holds more than weights') from None
    try:
        state = {name: value.float().numpy() for name, value in state_dictionary(loaded).items()}
    except (ValueError, AttributeError) as e:
        raise UserError(f'{file}: {e}') from None
    epoch = loaded.get('epoch')
    return state, epoch if isinstance(epoch, int) and epoch > 0 else 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('file', type=Path, help='a file of torch.save')
    parser.add_argument('--out', help='the directory (default: a new logs/import-torch/<date>)')
    parser.add_argument('--arch', help='what it has to be: lenet5, wrn-28-4, wrn-28-10 ... (default: what it is)')
    parser.add_argument('--plain', action='store_true', help='a wide residual network that does not standardise images')
    parser.add_argument('--dataset', help='what it is measured on (default: mnist for lenet5, else cifar10)')
    parser.add_argument('--data_dir', help="TensorFlow Datasets' directory (default: TFDS_DATA_DIR, or TFDS's own)")
    parser.add_argument('--gpu', help="index of the GPU to use, or 'cpu' (default: GPU 0 if there is one)")
    parser.add_argument('--images', type=int, default=1000, help='of which statistics are taken (default: 1000)')
    given = parser.parse_args()
    if given.images < 1:
        parser.error('--images must be at least 1')
    try:
        state, epoch = read(given.file)
        from core.imported import write_imported
        from models.torch_weights import network_of_state
        try:
            network = network_of_state(state, given.arch, not given.plain)
        except ValueError as e:
            raise UserError(f'{given.file}: {e}') from None
        source = {'file': str(given.file.resolve()), 'sha256': hashlib.sha256(given.file.read_bytes()).hexdigest()}
        write_imported(network, source, given.out, epoch, given.images, dataset=given.dataset,
                       data_dir=given.data_dir, gpu=given.gpu)
    except UserError as e:
        sys.exit(f'error: {e}')


if __name__ == '__main__':
    main()
