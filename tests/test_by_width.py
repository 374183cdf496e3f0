"""LeNet, VGG-16 and ResNet-18 by width: against the released networks in PyTorch, and what they refuse."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from conftest import ADVERSARIAL, OWN, reference_json, reference_npz
from runs import FLAGS, train
from torch_by_width import IMAGES, images, value

import core
from core import UserError
from models import build_model

RELEASED = reference_json('by_width', OWN)
WEIGHTS, DATA = (reference_npz(name, ADVERSARIAL) for name in ('models', 'data'))
ARCHITECTURES = {'MNIST_LeNet': 'lenet', 'CIFAR10_LeNet': 'lenet', 'CIFAR10_VGG': 'vgg16', 'CIFAR10_ResNet': 'resnet18'}
LENET = {'conv1_f': 'conv1.kernel', 'conv1_b': 'conv1.bias', 'conv3_f': 'conv2.kernel', 'conv3_b': 'conv2.bias',
         'fc5_W': 'fc1.kernel', 'fc5_b': 'fc1.bias', 'fc6_W': 'fc2.kernel', 'fc6_b': 'fc2.bias'}


@pytest.mark.long(after=2)
@pytest.mark.parametrize('name', ARCHITECTURES)
def test_logits_are_those_of_pytorch(name):
    model, rng = build_model(ARCHITECTURES[name], IMAGES[name], width=1), np.random.default_rng(0)
    model.set_weights({key: value(key, w.shape, rng) for key, w in model.weights().items()})
    np.testing.assert_allclose(model.predict(images(IMAGES[name])), RELEASED[name]['logits'], rtol=1e-4, atol=5e-5)


@pytest.mark.long(after=2)
@pytest.mark.parametrize('name', ARCHITECTURES)
def test_there_are_as_many_weights_as_in_pytorch(name):
    for width, count in RELEASED[name]['parameters'].items():
        if int(width) < 16:  # the others cost memory alone
            model = build_model(ARCHITECTURES[name], IMAGES[name], width=int(width), seed=1)
            assert sum(int(np.prod(v.shape)) for v in model.vars) == count, width


def test_the_released_lenets_have_their_logits():
    x = DATA['x_u8'][:16].astype(np.float32) / np.float32(255)
    for start in sorted({key.split('.')[0] for key in WEIGHTS if key.endswith('conv2.kernel')}):
        width = WEIGHTS[f'{start}.conv1.bias'].size // 2
        model = build_model('lenet', (28, 28, 1), width=width)
        model.set_weights({ours: WEIGHTS[f'{start}.{theirs}'] for ours, theirs in LENET.items()})
        np.testing.assert_allclose(model.predict(x), WEIGHTS[f'{start}.logits16'], rtol=0, atol=5e-5)


@pytest.mark.parametrize('arch, fan_in', [('vgg16', 27), ('resnet18', 27), ('lenet', 75)])
def test_weights_start_as_pytorchs_do(arch, fan_in):
    weights = build_model(arch, (32, 32, 3), width=2, seed=1).weights()
    limit = fan_in ** -0.5
    assert 0.9 * limit < np.abs(weights['conv1_f']).max() <= limit
    last_kernel, last_bias = list(weights.values())[-2:]
    assert 0 < np.abs(last_bias).max() <= last_kernel.shape[0] ** -0.5
    assert ('conv1_b' in weights) == (arch != 'resnet18')
    assert all((v == 1).all() for k, v in weights.items() if 'gamma' in k)


def test_without_biases_the_last_layer_has_one_all_the_same():
    model = build_model('vgg16', (32, 32, 3), width=1, bias=False)
    assert [k for k in model.weights() if k.endswith('_b')] == ['fc32_b'] and not model.is_homogeneous


@pytest.mark.long
def test_a_run_trains_it_and_keras_alone_opens_its_models():
    _, attempts = train(arch='resnet18', model={'width': 1, 'weight_decay': 1e-3}, lr=0.05, train_mode='NORMAL', E=3)
    assert attempts[-1]['stats']['loss'] < attempts[0]['stats']['loss']
    assert keras.saving.load_model('run/model-3.keras').output_shape == (None, 10)


@pytest.mark.parametrize('arch, model, message', [
    ('lenet', {'width': 0}, 'model: width must be a whole number of at least 1, not 0'),
    ('lenet', {'bias': 1}, 'model: bias must be True or False, not 1'),
    ('resnet18', {'width': 10 ** 6}, 'model: widths and num_labels must give no layer of more than'),
    ('vgg16', {}, 'model: vgg16 halves the image 5 times, so it takes images of 32x32 pixels at least, not 8x8'),
    ('simple_sequential', {'description': [['C', 2, 9, {'pad': False}], ['F', 10]]},
     'without padding it does not fit an image of 8x8'),
    ('simple_sequential', {'description': [['B', {'bias': True}], ['F', 10]]}, "there is no layer option 'bias'")])
def test_what_describes_no_network_is_refused(arch, model, message):
    with pytest.raises(UserError) as e:
        core.run({**FLAGS, 'arch': arch, 'lr': 0.1, 'train_mode': 'NORMAL', 'model': model})
    assert message in str(e.value)
