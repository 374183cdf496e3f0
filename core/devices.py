"""What ``--gpu`` means."""

from __future__ import annotations

import sys

import tensorflow as tf

from .errors import UserError


def use_device(gpu: int | str | None, threads: int | None = None) -> str:
    """Restricts TensorFlow to one device; must run before TensorFlow has computed anything.

    Args:
        gpu: the index of a GPU, or 'cpu'; None for the first GPU if there is one. An index that does not exist falls
            back to the CPU with a warning, as in the original.
        threads: CPU threads that one operation may use; None for all cores.

    Returns:
        The device, in words.

    Raises:
        UserError: not an index.
    """
    name = 'auto' if gpu is None else str(gpu).strip().lower()
    if name not in ('auto', 'cpu') and not name.isdigit():
        raise UserError(f"--gpu takes the index of a GPU (0, 1, ...) or 'cpu', not {gpu!r}")
    gpus = [] if name == 'cpu' else tf.config.list_physical_devices('GPU')
    index = int(name) if name.isdigit() else 0
    # TF32 rounds the inputs of matrix products to 10 bits; margins, and decisions on a loss ratio, need float32's 23.
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        if index < len(gpus):
            tf.config.set_visible_devices(gpus[index], 'GPU')
            tf.config.experimental.set_memory_growth(gpus[index], True)
            details = tf.config.experimental.get_device_details(gpus[index])
            return f"GPU {index} ({details.get('device_name', 'unknown')})"
        if name.isdigit():
            print(f'warning: there is no GPU {index} that TensorFlow can use here; running on the CPU', file=sys.stderr)
        tf.config.set_visible_devices([], 'GPU')
        # The operations of one network run one after the other; a second queue of them only contends for the cores.
        tf.config.threading.set_inter_op_parallelism_threads(1)
        tf.config.threading.set_intra_op_parallelism_threads(threads or 0)
    except RuntimeError:  # TensorFlow is already running, in a notebook say: its devices stay as they are
        return 'as already in use'
    return 'CPU'
