"""Data sets: the embedded digits, TensorFlow Datasets where they are, and one's own files."""

from __future__ import annotations

import gzip
import os
import pickle
import socket
import zipfile
from pathlib import Path

import numpy as np
import pytest

from core import UserError, get_dataset
from core.datasets import _first_line, notes, provenance, scale_pixels

RNG = np.random.default_rng(0)
GOOD = {'x_train': RNG.integers(0, 256, (30, 6, 5), dtype=np.uint8), 'y_train': np.arange(30) % 3,
        'x_test': RNG.integers(0, 256, (9, 6, 5), dtype=np.uint8), 'y_test': np.arange(9) % 3}


def write(**changes) -> str:
    np.savez('data.npz', **{k: v for k, v in {**GOOD, **changes}.items() if v is not None})
    return 'data.npz'


def test_digits_are_split_alike_every_time_with_every_class_in_both_parts(digits):
    (x, y), (x_test, y_test) = digits
    assert x.shape == (1442, 8, 8, 1) and x_test.shape == (355, 8, 8, 1) and x.dtype == np.float32
    assert x.min() == 0 and x.max() == 1
    shares = np.bincount(y_test) / (np.bincount(y) + np.bincount(y_test))
    np.testing.assert_allclose(shares, 0.2, atol=0.01)
    np.testing.assert_array_equal(get_dataset('digits').test[0], x_test)


def test_pixels_are_divided_by_255_not_multiplied_by_its_reciprocal():
    pixels = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(scale_pixels(pixels), (pixels.astype(np.float64) / 255).astype(np.float32))


def test_a_file_of_uint8_images_without_channels_is_scaled_and_gets_one():
    (x, y), (x_test, y_test) = get_dataset(write())
    np.testing.assert_array_equal(x[..., 0], GOOD['x_train'] / np.float32(255))
    assert x.shape == (30, 6, 5, 1) and x_test.shape == (9, 6, 5, 1) and y.dtype == np.int64


def test_a_file_of_float_colour_images_and_column_labels_is_taken_as_it_is():
    images = RNG.random((30, 6, 5, 3))
    (x, y), _ = get_dataset(write(x_train=images, y_train=GOOD['y_train'][:, np.newaxis], x_test=images[:9]))
    np.testing.assert_array_equal(x, images.astype(np.float32))
    assert y.shape == (30,)


def test_a_file_is_recorded_with_its_path_and_hash():
    import hashlib
    found = provenance(write())
    assert found == {'name': 'data.npz', 'path': str(Path('data.npz').resolve()),
                     'sha256': hashlib.sha256(Path('data.npz').read_bytes()).hexdigest()}


@pytest.mark.parametrize('changes, message', [
    ({'y_test': None}, 'lacks y_test; it has x_train, y_train, x_test'),
    ({'x_train': GOOD['x_train'][:, 0]}, 'x_train of data.npz must have the shape N x H x W'),
    ({'x_train': GOOD['x_train'].astype(np.int32)}, 'must be uint8, or float in [0, 1], not int32'),
    ({'x_train': GOOD['x_train'].astype(np.float32)}, 'float images must be in [0, 1]'),
    ({'x_train': np.full((30, 6, 5), np.nan)}, 'has 900 values that are not finite; float images must be in [0, 1]'),
    ({'x_train': np.where(np.arange(5) == 2, np.inf, np.zeros((30, 6, 5)))}, 'has 180 values that are not finite'),
    ({'y_train': GOOD['y_train'] + 2 ** 40}, 'has the label 1099511627778; labels count classes'),
    ({'y_train': GOOD['y_train'] == 1}, 'y_train of data.npz must be integers of shape N, not bool'),
    ({'y_train': GOOD['y_train'] / 2}, 'y_train of data.npz must be integers of shape N, not float64'),
    ({'y_train': np.eye(3, dtype=int)[GOOD['y_train']]}, 'y_train of data.npz must be integers of shape N'),
    ({'y_train': GOOD['y_train'] - 1}, 'has the label -1; labels count from 0'),
    ({'y_train': GOOD['y_train'][:5]}, 'has 30 images in x_train but 5 labels in y_train'),
    ({'x_train': GOOD['x_train'][:0], 'y_train': GOOD['y_train'][:0]}, 'has no images in x_train'),
    ({'y_train': np.ones(30, int)}, 'has only one class in y_train'),
    ({'x_train': np.zeros((30, 6, 5, 0), np.uint8)}, 'has images without pixels, of shape (6, 5, 0)'),
    ({'x_test': GOOD['x_test'][:, :4]}, 'images of (6, 5, 1) for training and of (4, 5, 1) for testing'),
    ({'x_train': np.array([{}] * 30)}, 'is not a readable .npz file of arrays')])
def test_a_file_that_is_no_data_set_is_refused_in_one_sentence(changes, message):
    with pytest.raises(UserError) as e:
        get_dataset(write(**changes))
    assert message in str(e.value) and '\n' not in str(e.value)


def npy() -> bytes:
    np.save('one.npy', np.zeros(3))
    return Path('one.npy').read_bytes()


def archive(**members: bytes) -> bytes:
    with zipfile.ZipFile('some.zip', 'w') as f:
        for name, content in members.items():
            f.writestr(name, content)
    return Path('some.zip').read_bytes()


def objects() -> bytes:
    np.savez('objects.npz', x_train=np.array([{}, None]))
    return Path('objects.npz').read_bytes()


@pytest.mark.parametrize('content, what', [
    (lambda: b'', 'it is empty'), (lambda: b'not a zip file', 'it is plain text'),
    (lambda: b'\n <!DOCTYPE html>\n<html>404</html>', 'it is a web page'),
    (lambda: b'PK\x03\x04 torn', 'it is damaged'), (npy, 'it is a single array, as np.save writes it'),
    (lambda: gzip.compress(b'x'), 'it is compressed by gzip'), (lambda: b'\x00\x01' * 99, 'it is no zip archive'),
    (lambda: pickle.dumps([1]), 'it is a pickle'), (objects, 'it holds arrays of Python objects'),
    (lambda: archive(notes=b'hello'), 'notes in it is no array'),
    (lambda: archive(**{'x_train.npy': npy()[:-5]}), 'it is damaged')])
def test_a_file_that_is_no_npz_is_refused_and_told_what_it_is(content, what):
    Path('data.npz').write_bytes(content())
    with pytest.raises(UserError, match='data.npz is not a readable .npz file') as e:
        get_dataset('data.npz')
    assert f'({what}' in str(e.value) and 'it should hold x_train, y_train, x_test and y_test' in str(e.value)
    assert 'pickle=' not in str(e.value) and 'unsafe' not in str(e.value) and '\n' not in str(e.value)


def test_a_truncated_data_set_of_tensorflow_datasets_is_a_sentence_without_names_of_nodes():
    import tensorflow as tf

    with pytest.raises(tf.errors.DataLossError) as e:
        Path('torn.tfrecord').write_bytes(b'x' * 40)
        next(iter(tf.data.TFRecordDataset('torn.tfrecord')))
    assert '{{' in str(e.value)
    told = _first_line(e.value)
    assert told.startswith('DataLossError: ') and 'corrupted record' in told
    assert not {'{', '}', '\x1b'} & set(told) and '[Op' not in told


# ---- images that may have been meant otherwise ----

@pytest.mark.parametrize('x, says', [
    (np.uint8([0, 255]), None), (np.uint8([0, 1]), 'no uint8 pixels but 0 and 1, which were divided by 255'),
    (np.uint8([0, 16]), 'no pixel of the test images is above 0.0627, where 1 is white (16 of 255)'),
    (np.uint8([0, 64]), None), (np.float32([0, 1]), None), (np.float32([0, 0.1]), 'is above 0.1, where 1 is white'),
    (np.float32([0.5, 0.5]), 'every pixel of the test images is 0.5'),
    (np.float32([0, 0]), 'every pixel of the test images is 0,')])
def test_images_of_an_odd_scale_are_noted_in_one_line(x, says):
    found = notes('test', scale_pixels(x) if x.dtype == np.uint8 else x)
    assert len(found) == (says is not None) and all(says in line and '\n' not in line for line in found)


def test_a_missing_file_and_an_unknown_name_say_what_there_is():
    with pytest.raises(UserError, match='dataset: there is no file nowhere.npz'):
        get_dataset('nowhere.npz')
    with pytest.raises(UserError, match=r"no data set 'mnits'; did you mean 'mnist'\? .*or the path of an .npz file"):
        get_dataset('mnits')


@pytest.mark.parametrize('name', ['mnist', 'fashion_mnist', 'cifar10'])
def test_data_that_is_nowhere_names_the_directory_and_every_way_out(name, monkeypatch, tmp_path):
    def offline(*args, **kwargs):
        raise OSError('no network')
    monkeypatch.setattr(socket, 'create_connection', offline)
    monkeypatch.setattr('urllib.request.getproxies', dict)
    with pytest.raises(UserError) as e:
        get_dataset(name, str(tmp_path / 'data'))
    for part in (str(tmp_path / 'data'), 'could not be downloaded', '--data_dir', 'TFDS_DATA_DIR', '.npz',
                 'exper-quickstart-digits'):
        assert part in str(e.value)
    assert '\n' not in str(e.value) and not (tmp_path / 'data').exists()


@pytest.mark.long
@pytest.mark.skipif(not (Path(os.environ.get('TFDS_DATA_DIR', 'unset')) / 'mnist').is_dir(),
                    reason='TFDS_DATA_DIR does not hold mnist')
def test_mnist_comes_through_tensorflow_datasets():
    (x, y), (x_test, y_test) = get_dataset('mnist')
    assert x.shape == (60000, 28, 28, 1) and x_test.shape == (10000, 28, 28, 1)
    assert x.max() == 1 and np.bincount(y).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
