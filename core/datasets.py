"""Data sets by name: TensorFlow Datasets, the embedded digits, and one's own .npz files."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from models.types import did_you_mean, shown

from .errors import UserError
from .workdir.npz import read_npz

DARK = 0.25
"""A largest pixel that says that images were meant to be scaled otherwise: 16 grey levels as uint8, say."""


class Dataset(NamedTuple):
    """Images, float32 [N, H, W, C] in [0, 1], and labels, int64 [N]; unpacks as the original's get_dataset did."""

    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]


class Split(NamedTuple):
    """What a run works with: images, float32 [N, H, W, C] in [0, 1], and labels, int64 [N], as arrays or as tensors.
    Where no validation images are set apart there are none of them."""

    train: tuple[Any, Any]
    validation: tuple[Any, Any]
    test: tuple[Any, Any]


def get_dataset(name: str, data_dir: str | None = None) -> Dataset:
    """Loads a data set.

    Args:
        name: a name from DATASETS, or the path of an .npz file with x_train, y_train, x_test, y_test.
        data_dir: where TensorFlow Datasets keeps its data; None for TFDS_DATA_DIR, else TFDS's own default.

    Raises:
        UserError: no such data set, one that cannot be had, or one that is not usable.
    """
    if name.endswith('.npz'):
        return _npz(Path(name))
    if name not in DATASETS:
        raise UserError(f'there is no data set {shown(name)}; {did_you_mean(name, DATASETS)}, or the path of an .npz '
                        'file')
    if _remembered is None:
        return _loaded(name, data_dir)
    if (name, data_dir) not in _remembered:
        _remembered.clear()
        _remembered[name, data_dir] = _loaded(name, data_dir)
    return _remembered[name, data_dir]


def _loaded(name: str, data_dir: str | None) -> Dataset:
    """A data set by its name; of one that others registered, what they give is checked.

    Raises:
        UserError: it is not usable.
    """
    found = DATASETS[name](data_dir)
    if isinstance(found, Dataset):
        return found
    try:
        (x, y), (x_test, y_test) = found
    except (TypeError, ValueError):
        raise UserError(f'the data set {name} must be ((images, labels), (images, labels)), for training and for '
                        f'testing, not {shown(found)}') from None
    arrays = {'x_train': x, 'y_train': y, 'x_test': x_test, 'y_test': y_test}
    return _dataset_of(name, {k: np.asarray(v) for k, v in arrays.items()})


_remembered: dict[tuple[str, str | None], Dataset] | None = None


@contextmanager
def remembered() -> Iterator[None]:
    """Within this, a data set with a name that is asked for again is not read again, which takes MNIST eight seconds;
    its arrays are then shared."""
    global _remembered
    _remembered = {}
    try:
        yield
    finally:
        _remembered = None


def provenance(name: str) -> dict[str, Any]:
    """What identifies a data set in a run's record: of a file, its absolute path and SHA-256."""
    if not name.endswith('.npz'):
        return {'name': name}
    path = Path(name).resolve()
    try:
        return {'name': name, 'path': str(path), 'sha256': hashlib.sha256(path.read_bytes()).hexdigest()}
    except OSError as e:
        raise UserError(f'the data set {path} cannot be read: {e.strerror}') from None


def identity(name: str) -> str:
    """What two names of one data set have in common: of a file, its SHA-256.

    Raises:
        UserError: the file cannot be read.
    """
    found = provenance(name)
    return found.get('sha256', found['name'])


def scale_pixels(x: np.ndarray) -> np.ndarray:
    """uint8 pixels to float32 in [0, 1]: a division, not a product with 1/255, which rounds differently."""
    return x.astype(np.float32) / np.float32(255)


def _digits(data_dir: str | None) -> Dataset:
    """scikit-learn's 1,797 digits of 8x8 pixels; of each class every fifth image, in file order, is for testing."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    x, y = (digits.images / 16).astype(np.float32)[..., np.newaxis], digits.target.astype(np.int64)
    test = np.zeros(len(y), bool)
    for c in range(10):
        test[np.flatnonzero(y == c)[4::5]] = True
    return Dataset((x[~test], y[~test]), (x[test], y[test]))


def _tfds(name: str, source: str) -> Callable[[str | None], Dataset]:
    """A data set of TensorFlow Datasets, whose files are downloaded once from the host ``source``."""
    def load(data_dir: str | None) -> Dataset:
        """Reads the data set from ``data_dir``, downloading it there first if need be."""
        import tensorflow_datasets as tfds

        where = os.path.expanduser(data_dir or os.environ.get('TFDS_DATA_DIR') or tfds.core.constants.DATA_DIR)
        problem = 'is not in {} and could not be downloaded'
        try:
            builder = tfds.builder(name, data_dir=where)
            if builder.data_path.exists():
                problem = 'in {} cannot be read'
            else:
                _check_reachable(source)
                builder.download_and_prepare()
            splits = [tfds.as_numpy(builder.as_dataset(split=split, batch_size=-1, as_supervised=True))
                      for split in ('train', 'test')]
        except Exception as e:  # TFDS raises whatever its downloaders, readers and parsers raise
            raise UserError(
                f'the data set {name} {problem.format(where)} ({_first_line(e)}); name a directory that has it with '
                f'--data_dir or TFDS_DATA_DIR, or use --set dataset=FILE.npz; exper-quickstart-digits needs no download'
            ) from None
        return Dataset(*((scale_pixels(x), y.astype(np.int64)) for x, y in splits))
    return load


def _check_reachable(host: str) -> None:
    """Raises OSError where a download has no chance: TFDS itself retries for minutes, filling the screen."""
    if not urllib.request.getproxies():
        try:
            socket.create_connection((host, 80), timeout=10).close()
        except OSError:
            raise ConnectionError(f'no connection to {host}') from None


def _first_line(e: Exception) -> str:
    """What an error of a library says, in one line, without TensorFlow's names of nodes and colours of a terminal."""
    text = re.sub(r'\x1b\[\d*m|\{\{[^}]*\}\}|\[?\[\{\{.*|\[Op:\w+\].*', '', str(e)).strip().split('\n')[0].strip()
    return f'{type(e).__name__}: {text[:200]}' if text else type(e).__name__


def _npz(path: Path) -> Dataset:
    arrays = read_npz(path, 'dataset', holds='x_train, y_train, x_test and y_test')
    if missing := [n for n in ('x_train', 'y_train', 'x_test', 'y_test') if n not in arrays]:
        raise UserError(f"the data set {path} lacks {', '.join(missing)}; it has {', '.join(arrays) or 'nothing'}")
    return _dataset_of(path, arrays)


def _dataset_of(path: Path | str, arrays: Mapping[str, np.ndarray]) -> Dataset:
    """The data set of these arrays, which come from a file, or are those of a name."""
    dataset = Dataset(*((_images(path, x, arrays[x]), _labels(path, y, arrays[y]))
                        for x, y in (('x_train', 'y_train'), ('x_test', 'y_test'))))
    for part, (x, y) in zip(('train', 'test'), dataset):
        if len(x) != len(y):
            raise UserError(f'the data set {path} has {len(x)} images in x_{part} but {len(y)} labels in y_{part}')
        if len(x) == 0:
            raise UserError(f'the data set {path} has no images in x_{part}')
    if dataset.train[0].shape[1:] != dataset.test[0].shape[1:]:
        raise UserError(f'the data set {path} has images of {dataset.train[0].shape[1:]} for training and of '
                        f'{dataset.test[0].shape[1:]} for testing')
    if len(np.unique(dataset.train[1])) < 2:
        raise UserError(f'the data set {path} has only one class in y_train')
    return dataset


def _images(path: Path | str, name: str, x: np.ndarray) -> np.ndarray:
    if x.ndim == 3:
        x = x[..., np.newaxis]
    if x.ndim != 4:
        raise UserError(f'{name} of {path} must have the shape N x H x W or N x H x W x C, not {x.shape}')
    if 0 in x.shape[1:]:
        raise UserError(f'{name} of {path} has images without pixels, of shape {x.shape[1:]}')
    if x.dtype == np.uint8:
        return scale_pixels(x)
    if not np.issubdtype(x.dtype, np.floating):
        raise UserError(f'{name} of {path} must be uint8, or float in [0, 1], not {x.dtype}')
    if wrong := int(x.size - np.isfinite(x).sum()):
        raise UserError(f'{name} of {path} has {wrong} values that are not finite; float images must be in [0, 1]')
    if x.size and not (x.min() >= 0 and x.max() <= 1):
        raise UserError(f'{name} of {path} has values from {x.min():g} to {x.max():g}; float images must be in [0, 1]')
    return x.astype(np.float32)


def _labels(path: Path | str, name: str, y: np.ndarray) -> np.ndarray:
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1 or not np.issubdtype(y.dtype, np.integer):
        raise UserError(f'{name} of {path} must be integers of shape N, not {y.dtype} of shape {y.shape}')
    if y.size and y.max() >= 2 ** 31:
        raise UserError(f'{name} of {path} has the label {y.max()}; labels count classes, from 0')
    if y.size and y.min() < 0:
        raise UserError(f'{name} of {path} has the label {y.min()}; labels count from 0')
    return y.astype(np.int64)


def notes(part: str, x: np.ndarray) -> list[str]:
    """What may be wrong with images that can be used, a sentence each.

    Args:
        part: 'training' or 'test'.
        x: its images, float32 in [0, 1].
    """
    low, high = float(x.min()), float(x.max())
    if low == high:
        return [f'note: every pixel of the {part} images is {high:g}, so there is nothing to tell them apart by']
    if high > DARK:
        return []
    grey = round(high * 255)
    if grey == 1 and np.float32(high) == scale_pixels(np.array(1, np.uint8)):
        return [f'note: the {part} images have no uint8 pixels but 0 and 1, which were divided by 255; if 1 is white, '
                'give them as floats, or times 255']
    return [f'note: no pixel of the {part} images is above {high:.3g}, where 1 is white ({grey} of 255); images that '
            'are this dark train slowly if at all: scale them']


DATASETS: dict[str, Callable[[str | None], Any]] = {
    'mnist': _tfds('mnist', 'storage.googleapis.com'),
    'fashion_mnist': _tfds('fashion_mnist', 'fashion-mnist.s3-website.eu-central-1.amazonaws.com'),
    'cifar10': _tfds('cifar10', 'www.cs.toronto.edu'),
    'digits': _digits,
}
"""Data set names, for the flag ``dataset``."""
