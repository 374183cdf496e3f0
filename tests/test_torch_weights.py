"""Weights of PyTorch: logits equal to PyTorch's, the script and the directory that it writes, what is refused.

What PyTorch computes is stored in reference/torch.npz, which ``python tests/torch_peers.py`` wrote; where PyTorch is
installed, the same is asked of it directly."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import OWN, reference_npz
from torch_peers import PLACES, RELEASED, images_of, logits_of, shapes_of, state_of, with_state

import core
from core import UserError
from core.imported import write_imported
from core.workdir import Workdir
from models.torch_weights import network_of_state, state_dictionary

ROOT = Path(__file__).resolve().parents[1]
TORCH = reference_npz('torch', OWN)
LENET5 = state_of(shapes_of('lenet5'))
WRN = state_dictionary(state_of(shapes_of(**PLACES['wrn-10-1'][0])))


@pytest.mark.long(after=2)
@pytest.mark.parametrize('name', [
    'lenet5', 'wrn-10-1', 'wrn-16-2', 'wrn-28-4', pytest.param('wrn-28-10', marks=pytest.mark.long)])
def test_logits_are_those_of_pytorch(name):
    of, shape = PLACES[name]
    found = network_of_state(state_dictionary(state_of(shapes_of(**of))), name)
    assert found.name == name and found.input_shape == shape
    np.testing.assert_allclose(found.build().predict(images_of(shape)), TORCH[f'logits/{name}'], atol=1e-4)


def test_a_network_without_standardisation_is_another():
    plain = network_of_state(WRN, standardise=False).build()
    x = images_of((32, 32, 3))
    standard = (x[:1] - x[0].mean()) / x[0].std(ddof=1)
    np.testing.assert_allclose(plain.predict(standard), TORCH['logits/wrn-10-1'][:1], atol=1e-4)


@pytest.mark.parametrize('wrapped', [
    lambda state: {'epoch': 3, 'model': state, 'optimizer': {'state': {}}},
    lambda state: {'state_dict': {f'module.{k}': v for k, v in state.items()}},
    lambda state: {'net': {f'module.model.{k}': v for k, v in state.items()}},
    lambda state: {f'1.{k}': v for k, v in state.items()}])
def test_wrappers_and_common_beginnings_of_names_are_seen_through(wrapped):
    full = state_of(shapes_of('wrn', 10, 1, **RELEASED))
    assert any(k.endswith('num_batches_tracked') for k in full)
    found = state_dictionary(wrapped(full))
    assert found.keys() == {k for k in full if not k.endswith('num_batches_tracked')}
    assert network_of_state(found).name == 'wrn-10-1'


def without(state, *names):
    return {k: v for k, v in state.items() if k not in names}


@pytest.mark.parametrize('loaded, message', [
    ([1, 2], 'this is no state dictionary, from names to weights, but a list'),
    ({}, 'but a dict has nothing'), ({'epoch': 3}, 'but a dict has epoch'),
    ({'state_dict': {'conv1.weight': 3}}, 'but a dict has conv1.weight')])
def test_what_is_no_state_dictionary_is_refused(loaded, message):
    with pytest.raises(ValueError, match=message):
        state_dictionary(loaded)


@pytest.mark.parametrize('state, arch, message', [
    ({'features.0.weight': np.ones((8, 3, 3, 3), 'f')}, None, 'this is neither a LeNet5 .* it has features.0.weight'),
    (LENET5, 'wrn-28-4', 'these are the weights of a lenet5, not of a wrn-28-4'),
    (WRN, 'wrn-28-10', 'these are the weights of a wrn-10-1, not of a wrn-28-10'),
    (WRN, 'resnet', "arch must be 'lenet5', or of the form 'wrn-28-4', not 'resnet'"),
    (without(LENET5, 'conv2.bias'), None, 'a LeNet5 has conv2.bias, which is not in this state dictionary: it has'),
    (without(WRN, 'bn1.running_var'), None, 'a wrn-10-1 has bn1.running_var, which is not in this'),
    ({**WRN, 'mu': np.ones(3, 'f')}, None, 'this state dictionary has mu, which a wrn-10-1 has not'),
    ({**LENET5, 'linear1.weight': np.ones((1024, 800), 'f')}, None,
     r'linear1.weight must have the shape \(1024, 3136\) in a LeNet5 of images of 28x28 pixels, not \(1024, 800\)'),
    ({**LENET5, 'conv1.weight': np.ones((32, 1, 4, 4), 'f')}, None, 'two convolutions of odd size'),
    ({**WRN, 'fc.weight': np.ones((10, 100), 'f')}, None, r'no wide residual network: it has 1 units .*\(10, 100\)'),
    ({**WRN, 'fc.bias': np.full(10, np.nan, 'f')}, None, 'fc.bias has values that are not finite'),
    ({**WRN, 'fc.bias': np.arange(10)}, None, 'fc.bias has values that are not finite numbers')])
def test_weights_of_other_networks_are_refused(state, arch, message):
    with pytest.raises(ValueError, match=message):
        network_of_state(state, arch)


@pytest.mark.long(after=2)
@pytest.mark.parametrize('state, name, shape', [
    (LENET5, 'conv2.weight', (64, 16, 5, 5)), (WRN, 'convgroup2.layer.0.conv1.weight', (32, 16, 5, 5)),
    (WRN, 'bn1.bias', (63,))])
def test_a_weight_that_does_not_fit_the_others_is_named_as_it_is_called_there(state, name, shape):
    with pytest.raises(ValueError, match=f'{name} does not fit the other weights of a '):
        network_of_state({**state, name: np.ones(shape, 'f')}).build()


# ---- the directory ----


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """A data set of 28x28 pixels."""
    path = tmp_path_factory.mktemp('data') / 'noise.npz'
    rng = np.random.default_rng(0)
    arrays = {f'x_{part}': rng.integers(0, 256, (n, 28, 28, 1), np.uint8) for part, n in (('train', 40), ('test', 20))}
    np.savez(path, **arrays, y_train=np.arange(40) % 10, y_test=np.arange(20) % 10)
    return str(path)


def test_an_imported_network_has_the_directory_of_a_run_that_is_not_resumed(images, eagerly):
    network = network_of_state(LENET5)
    workdir = write_imported(network, {'file': 'x.pt'}, 'imported', eid=3, images=30, dataset=images, gpu='cpu')
    line, = workdir.read_history()
    x, y = core.get_dataset(images).train
    logits = network.build().predict(x[:30]).numpy()
    assert line['eid'] == 3 and line['stats']['acc'] == (logits.argmax(axis=1) == y[:30]).mean()
    np.testing.assert_allclose(keras.saving.load_model('imported/model-3.keras')(x[:30]), logits, atol=1e-5)
    assert workdir.read_flags()['imported'] == {'file': 'x.pt', 'name': 'lenet5', 'images': 30}
    assert pickle.loads(workdir.res_path.read_bytes())['raw'][3]['stats']['acc'] == line['stats']['acc']
    with pytest.raises(UserError, match="the flag 'lr' is missing"):
        core.run({'dataset': images, 'model': {}, 'lr': 0.1, 'resume': 'imported', 'gpu': 'cpu'})


@pytest.mark.long
@pytest.mark.parametrize('state', [LENET5, WRN], ids=['lenet5', 'wrn'])
def test_evaluations_take_it_like_a_run(state, images, eagerly):
    network = network_of_state(state)
    if network.name != 'lenet5':
        rng = np.random.default_rng(0)
        images = 'colours.npz'
        np.savez(images, y_train=np.arange(20) % 10, y_test=np.arange(20) % 10, **{
            f'x_{part}': rng.integers(0, 256, (20, 32, 32, 3), np.uint8) for part in ('train', 'test')})
    write_imported(network, {}, 'imported', images=10, dataset=images, gpu='cpu')
    for task, options in (('transfer', {'attack_type': 'FGSM', 'attack_eps_list': [0.1]}),
                          ('attack', {'attack_type': 'L_2_FAST', 'attack_K': 5})):
        found = core.run({'task': task, 'log': 'imported', 'gpu': 'cpu', 'attack_N': 4, 'attack_set': 'test', **options,
                          'eval_log': task})
        assert list(found) == [1] and Workdir(task).read_summary()['epochs']['1']['images'] == 4


def test_a_data_set_of_other_images_is_refused_and_nothing_is_written():
    with pytest.raises(UserError, match='a lenet5 takes images of 28x28x1, and those of digits are 8x8x1'):
        write_imported(network_of_state(LENET5), {}, 'out', dataset='digits', gpu='cpu')
    assert not Path('out').exists()


# ---- the script, and PyTorch itself ----


def script(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    own = {k: v for k, v in os.environ.items() if k != 'TF_CPP_MIN_LOG_LEVEL'}  # set, TensorFlow says all it has to say
    return subprocess.run([sys.executable, ROOT / 'examples/import-torch.py', *arguments], capture_output=True,
                          text=True, env={**own, **environment})


@pytest.mark.long
def test_without_pytorch_the_script_says_how_to_get_it():
    Path('torch.py').write_text('raise ImportError("none here")')
    said = script('x.pt', PYTHONPATH='.')
    assert said.returncode == 1 and not said.stdout
    assert said.stderr == ("error: PyTorch, which reads such files, is not installed: pip install torch, or the extra "
                           "'peers' of setup.py\n")


@pytest.mark.long
@pytest.mark.parametrize('name', ['lenet5', 'wrn-16-2'])
def test_logits_are_those_of_pytorch_here(name):
    pytest.importorskip('torch')
    of, shape = PLACES[name]
    x = images_of(shape, seed=5)
    found = network_of_state(state_dictionary(state_of(shapes_of(**of)))).build()
    np.testing.assert_allclose(found.predict(x), logits_of(with_state(of), x), atol=1e-4)


@pytest.mark.long
def test_the_script_makes_a_directory_of_a_file(images):
    torch = pytest.importorskip('torch')
    net = with_state(PLACES['lenet5'][0])
    torch.save({'epoch': 12, 'model': {f'module.{k}': v for k, v in net.state_dict().items()}}, 'lenet5.pt')
    torch.save(torch.nn.Linear(2, 2), 'whole.pt')
    torch.save({'a': torch.ones(3)}, 'other.pt')
    said = script('lenet5.pt', '--out', 'out', '--dataset', images, '--gpu', 'cpu', '--arch', 'lenet5')
    assert said.returncode == 0 and 'of the first 1000 images of ' in said.stdout, said.stderr
    assert json.loads(Path('out/flags.json').read_text())['imported']['file'] == str(Path('lenet5.pt').resolve())
    x = core.get_dataset(images).test[0]
    np.testing.assert_allclose(keras.saving.load_model('out/model-12.keras')(x), logits_of(net, x), atol=1e-4)
    for file, says in (('whole.pt', 'whole.pt is no file of torch.save, or holds more than weights'),
                       ('other.pt', 'other.pt: this is neither a LeNet5')):
        said = script(file, '--dataset', images, '--gpu', 'cpu')
        assert said.returncode == 1 and said.stderr.count('\n') == 1 and says in said.stderr, said.stderr
