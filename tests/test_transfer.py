"""Accuracy on adversarial images of given sizes: the images against closed forms, plain NumPy and Foolbox; white and
black box evaluations against a few lines of Keras; what they write and refuse."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import foolbox
import keras
import numpy as np
import pytest
import tensorflow as tf
from nets import scaled, small_mnist
from runs import FLAGS, Stop, die_in, train

import core
from core import AttackType, UserError
from core.tasks.transfer import EPS
from core.workdir import Workdir
from models import SimpleSequential
from models.attacks import FGSM, IFGSM

pytestmark = pytest.mark.usefixtures('networks_are_shared')

WHITE = {'task': 'transfer', 'log': 'run', 'attack_type': AttackType.FGSM, 'attack_set': 'test', 'attack_B': 32,
         'attack_eps_list': [0.2, 0.05], 'seed': 1, 'gpu': 'cpu', 'eval_log': 'out'}
BLACK = {**WHITE, 'source': 'source'}


# ---- images of a given size ----


def linear(weights: np.ndarray, biases: np.ndarray) -> SimpleSequential:
    model = SimpleSequential('m', (4, 4, 1), [['F', 5, {'act': False, 'bias': True}]])
    model.set_weights({'fc1_W': weights, 'fc1_b': biases})
    return model


def stepped(x, y, weights, biases, eps, k, a):
    """Steps up the cross entropy of a linear network, in float64, with what is left of it at any loss."""
    x0 = x = x.reshape(len(x), -1).astype(np.float64)
    for _ in range(k):
        z = x @ weights + biases
        z[np.arange(len(z)), y] = -np.inf
        p = np.exp(z - z.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        x = x + a * eps * np.sign(p @ weights.T - weights.T[y])
        x = np.clip(np.clip(x, x0 - eps, x0 + eps), 0, 1)
    return x.reshape(-1, 4, 4, 1)


@pytest.mark.long(after=1)
@pytest.mark.parametrize('scale', [1, 3e3], ids=['moderate losses', 'a loss of 1e-100 or less'])
@pytest.mark.parametrize('make, k, a', [(FGSM, 1, 1.0), (lambda m: IFGSM(m, k=7, a=0.3), 7, 0.3)],
                         ids=['FGSM', 'IFGSM'])
def test_images_of_a_linear_network_are_those_of_the_closed_form_at_any_loss(make, k, a, scale):
    rng = np.random.default_rng(0)
    weights, biases = (scale * rng.normal(size=s).astype(np.float32) for s in ((16, 5), (5,)))
    x = rng.uniform(size=(200, 4, 4, 1)).astype(np.float32)
    z = x.reshape(200, -1) @ weights + biases
    y = z.argmax(axis=1)
    if scale > 1:
        largest = np.sort(z, axis=1)
        x, y = (part[largest[:, -1] - largest[:, -2] > 240] for part in (x, y))
        assert len(x) > 100
    for eps in (0.01, 0.4):
        found = make(linear(weights, biases)).of_size(x, y, eps)
        np.testing.assert_allclose(found, stepped(x, y, weights.astype(float), biases, eps, k, a), atol=1e-6)


def cross_entropy_signs(net, x, y):
    """The gradient of the cross entropy, of float32, and where it is far enough from 0 to have a certain sign."""
    with tf.GradientTape() as tape:
        x = tf.constant(x)
        tape.watch(x)
        loss = keras.losses.sparse_categorical_crossentropy(y, net(x), from_logits=True)
    gradient = tape.gradient(loss, x).numpy()
    return gradient, np.abs(gradient) > 1e-4 * np.abs(gradient).max(axis=(1, 2, 3), keepdims=True)


@pytest.fixture(scope='module')
def net():
    return small_mnist()


def test_fgsm_takes_foolboxs_step(net, mnist_images):
    x, y = (a[:24] for a in mnist_images.train)
    with scaled(net.net, 0.1):
        ours = FGSM(net).of_size(x, y, 0.1)
        model = foolbox.TensorFlowModel(net.net, bounds=(0, 1))
        theirs = foolbox.attacks.LinfFastGradientAttack(random_start=False)(
            model, tf.constant(x), tf.constant(y), epsilons=0.1)[1].numpy()
        _, certain = cross_entropy_signs(net.net, x, y)
    assert certain.mean() > 0.5
    np.testing.assert_allclose(ours[certain], theirs[certain], atol=1e-6)
    assert np.isclose(ours, theirs, atol=1e-6).mean() > 0.999


def test_ifgsm_takes_foolboxs_steps(net, mnist_images):
    x, y = (a[:24] for a in mnist_images.train)
    with scaled(net.net, 0.1):
        ours = IFGSM(net, k=10, a=0.25).of_size(x, y, 0.1)
        model = foolbox.TensorFlowModel(net.net, bounds=(0, 1))
        theirs = foolbox.attacks.LinfBasicIterativeAttack(rel_stepsize=0.25, steps=10, random_start=False)(
            model, tf.constant(x), tf.constant(y), epsilons=0.1)[1].numpy()
    assert np.isclose(ours, theirs, atol=1e-6).mean() > 0.995
    same = np.isclose(ours, theirs, atol=1e-6).all(axis=(1, 2, 3))
    assert same.mean() > 0.5, 'a sign at a pixel without a gradient, of rounding, changes the way of few images'


def test_where_the_cross_entropy_has_no_gradient_images_are_those_of_the_nearest_class(net, mnist_images):
    x, y = (a[:24] for a in mnist_images.train)
    with scaled(net.net, 100):
        logits = net.net(x).numpy()
        assert np.diff(np.sort(logits, axis=1)[:, -2:]).min() > 240, 'losses below 1e-100'
        assert not cross_entropy_signs(net.net, x, y)[0].any()
        ours = FGSM(net).of_size(x, y, 0.1)
    logits[np.arange(24), y] = -np.inf
    with tf.GradientTape() as tape:
        images = tf.constant(x)
        tape.watch(images)
        z = net.net(images)
        gap = tf.gather(z, logits.argmax(axis=1), batch_dims=1) - tf.gather(z, y, batch_dims=1)
    gradient = tape.gradient(gap, images).numpy()
    certain = np.abs(gradient) > 1e-2 * np.abs(gradient).max(axis=(1, 2, 3), keepdims=True)
    expected = np.clip(x + np.float32(0.1) * np.sign(gradient), 0, 1)
    assert np.isclose(ours, expected, atol=1e-6)[certain].mean() > 0.999


@pytest.mark.long
@pytest.mark.parametrize('norm', ['Linf', 'L2'])
def test_images_lie_within_their_budget_and_the_box_and_do_not_stop_where_they_fool(net, norm, mnist_images):
    x, y = (a[:24] for a in mnist_images.train)
    attack = IFGSM(net, k=8, a=0.2, norm=norm)
    small, large = (attack.of_size(x, y, eps) for eps in (0.1, 0.5))
    for eps, found in ((0.1, small), (0.5, large)):
        distances = attack.distance(found, x)
        assert found.min() >= 0 and found.max() <= 1 and (distances <= eps * (1 + 1e-5)).all()
        assert (distances > 0.95 * eps).all()
    assert attack.attack(x, y).success.any(), 'which would be done earlier'
    assert attack.of_size(x, y, 0).tolist() == x.tolist()
    assert FGSM(net).of_size(x[:3], np.eye(10)[y[:3]].astype(int), 0.1).shape == (3, 28, 28, 1)


def test_images_that_cannot_be_made_are_refused(net):
    x = np.zeros((2, 28, 28, 1), np.float32)
    with pytest.raises(ValueError, match='images must have the shape N x 28 x 28 x 1'):
        FGSM(net).of_size(x[:, :8], np.array([1, 2]), 0.1)
    with pytest.raises(ValueError, match=r'labels must be in 0\.\.9'):
        FGSM(net).of_size(x, np.array([1, 10]), 0.1)
    with scaled(net.net, np.nan), pytest.raises(ValueError, match="the network's logits are not all finite"):
        FGSM(net).of_size(x, np.array([1, 2]), 0.1)
    image = keras.Input((4, 4, 1))
    steep = keras.Model(image, keras.layers.Dense(3)(keras.ops.sqrt(keras.layers.Flatten()(image))))
    with pytest.raises(ValueError, match="the gradient of the network's logits is not finite"):
        FGSM(steep).of_size(np.zeros((2, 4, 4, 1), np.float32), np.array([1, 2]), 0.1)


# ---- evaluations ----


@pytest.fixture(scope='module')
def archived(tmp_path_factory):
    """Two short runs on the digits, of seeds and widths of their own."""
    path = tmp_path_factory.mktemp('archived')
    train(archive=6, log=str(path / 'run'))
    wider = {**FLAGS['model'], 'description': [['C', 6, [3, 3]], ['P'], ['F', 10, {'act': False}]]}
    train(archive=6, log=str(path / 'source'), seed=2, model=wider, train_N=200)
    return path


@pytest.fixture
def runs(archived):
    for name in ('run', 'source'):
        Path(name).symlink_to(archived / name)


def keras_net(run: str, eid: int) -> keras.Model:
    return keras.saving.load_model(f'{run}/model-{eid}.keras')


def accuracy(target, source, x, y, eps):
    """That of ``target`` on FGSM's images of ``source``, in Keras alone."""
    gradient, _ = cross_entropy_signs(source, x, y)
    images = np.clip(x + np.float32(eps) * np.sign(gradient), 0, 1)
    return float((target(images).numpy().argmax(axis=1) == y).mean())


@pytest.mark.long
def test_a_black_box_evaluation_is_of_the_run_on_images_of_the_source(runs):
    res = core.run({**BLACK, 'eid': [6, 12]})
    x, y = (a[:100] for a in core.get_dataset('digits').test)
    source = keras_net('source', 12)
    summary = json.loads(Path('out/summary.json').read_text())
    assert (summary['box'], summary['attack'], summary['steps'], summary['step_size']) == ('black', 'FGSM', 1, 1)
    assert summary['source'] == {'run': 'source', 'eid': 12} and summary['eps'] == [0.05, 0.2]
    for eid in (6, 12):
        target, epoch = keras_net('run', eid), summary['epochs'][str(eid)]
        for eps in (0.05, 0.2):
            assert res[eid]['accuracy'][eps] == pytest.approx(accuracy(target, source, x, y, eps), abs=0.011)
            assert epoch['accuracy_under_attack'][f'{eps:g}'] == res[eid]['accuracy'][eps]
            assert epoch['source_accuracy_under_attack'][f'{eps:g}'] == pytest.approx(
                accuracy(source, source, x, y, eps), abs=0.011)
        assert epoch['accuracy'] == res[eid]['clean_accuracy'] == accuracy(target, source, x, y, 0)
        assert epoch['source_accuracy'] == accuracy(source, source, x, y, 0)
        assert epoch['images'] == len(res[eid]['label']) == 100
        assert (res[eid]['class'] == y).mean(axis=1).tolist() == list(res[eid]['accuracy'].values())
        assert epoch['source_accuracy_under_attack']['0.2'] < res[eid]['accuracy'][0.2] - 0.05, 'they transfer in part'
    assert not np.array_equal(res[6]['class'], res[12]['class'])


@pytest.mark.long
def test_without_a_source_each_network_makes_its_own_images(runs, capsys):
    res = core.run({**WHITE, 'eid': [6, 12]})
    x, y = (a[:100] for a in core.get_dataset('digits').test)
    lines = capsys.readouterr().out.split('\n')
    summary = json.loads(Path('out/summary.json').read_text())
    assert (summary['box'], summary['source']) == ('white', None)
    for eid in (6, 12):
        net, epoch = keras_net('run', eid), summary['epochs'][str(eid)]
        for eps in (0.05, 0.2):
            assert res[eid]['accuracy'][eps] == pytest.approx(accuracy(net, net, x, y, eps), abs=0.011)
        assert epoch['source_accuracy_under_attack'] == epoch['accuracy_under_attack']
        assert res[eid]['accuracy'][0.2] < res[eid]['accuracy'][0.05] < res[eid]['clean_accuracy']
        (line,) = [line for line in lines if line.startswith(f'epoch #{eid}: 100 images')]
        assert 'made on itself' in line and f"0.2:{100 * res[eid]['accuracy'][0.2]:.2f}%" in line
    with open('out/res', 'rb') as f:
        assert pickle.load(f)[12]['accuracy'] == res[12]['accuracy']


@pytest.mark.long
def test_the_run_itself_may_be_the_source_of_another_epoch(runs):
    same, other = (core.run({**WHITE, 'source': 'run', 'source_eid': eid, 'eval_log': str(eid)}) for eid in (12, 6))
    assert same[12]['accuracy'] == core.run({**WHITE, 'eid': 12})[12]['accuracy']
    assert same[12]['accuracy'] == {k: pytest.approx(v) for k, v in zip(
        [0.05, 0.2], (same[12]['source_class'] == same[12]['label']).mean(axis=1))}
    assert other[12]['accuracy'] != same[12]['accuracy']


@pytest.mark.long
def test_ifgsm_is_stronger_on_the_network_itself_and_takes_its_steps_from_the_flags(runs):
    fgsm = core.run({**WHITE, 'attack_eps_list': None})[12]
    assert fgsm['eps'] == list(EPS)
    flags = {**WHITE, 'attack_type': 'IFGSM', 'attack_eps_list': None, 'attack_K': 5, 'lr': 0.4, 'eval_log': 'steps'}
    ifgsm = core.run(flags)[12]
    summary = json.loads(Path('steps/summary.json').read_text())
    assert (summary['steps'], summary['step_size'], summary['attack']) == (5, 0.4, 'IFGSM')
    differences = [fgsm['accuracy'][eps] - ifgsm['accuracy'][eps] for eps in EPS]
    assert min(differences) >= -0.01 and max(differences) > 0.03


@pytest.mark.long
@pytest.mark.parametrize('flags', [WHITE, BLACK], ids=['white', 'black'])
def test_an_evaluation_that_died_goes_on_to_the_same_result(flags, runs, monkeypatch):
    whole = core.run({**flags, 'eid': [6, 12], 'eval_log': 'whole'})
    with monkeypatch.context() as m:
        die_in(m, 'replace', 7, before=True)
        with pytest.raises(Stop):
            core.run({**flags, 'eid': [6, 12]})
    kept = Workdir('out').parts()
    assert 0 < sum(map(len, kept.values())) < 8
    first = Path('out/parts/6-0.npz').stat().st_mtime_ns
    again = core.run({**flags, 'eid': [6, 12]})
    assert Path('out/parts/6-0.npz').stat().st_mtime_ns == first, 'what was finished is not done again'
    for eid in (6, 12):
        assert again[eid]['accuracy'] == whole[eid]['accuracy']
        assert np.array_equal(again[eid]['source_class'], whole[eid]['source_class'])


@pytest.mark.long
def test_on_several_devices_it_finds_what_one_finds(runs):
    one, several = (core.run({**BLACK, 'eid': [6, 12], 'attack_B': 16, 'gpu': gpu, 'eval_log': gpu})
                    for gpu in ('cpu', 'cpu,cpu'))
    for eid in (6, 12):
        assert np.array_equal(one[eid]['class'], several[eid]['class'])
        assert np.array_equal(one[eid]['source_class'], several[eid]['source_class'])


@pytest.mark.long
def test_an_evaluation_does_not_go_on_with_another_source(runs):
    train(log='changing', E=2)
    core.run({**WHITE, 'source': 'changing'})
    with pytest.raises(UserError, match='was begun with source=.changing., so it cannot go on with source=.source.'):
        core.run({**WHITE, 'source': 'source'})
    train(log='other', E=2, seed=7)
    Path('other/model-2.keras').replace('changing/model-2.keras')
    with pytest.raises(UserError, match='the model of the source is not the one that the evaluation in out began with'):
        core.run({**WHITE, 'source': 'changing'})


@pytest.mark.long
def test_sources_for_other_data_are_refused(runs):
    x, y = core.get_dataset('digits').train
    np.savez('small.npz', x_train=x[:, :6], y_train=y, x_test=x[:, :6], y_test=y)
    train(log='cropped', dataset='small.npz', E=1, train_N=60, test_N=10)
    with pytest.raises(UserError, match='the source cropped was trained on the data set .*small.npz, and run on '):
        core.run({**WHITE, 'source': 'cropped'})
    wide = {**FLAGS['model'], 'description': [['F', 12, {'act': False}]]}
    train(log='twelve', model=wide, E=1)
    with pytest.raises(UserError, match='source: the network of twelve has 12 outputs, and that of run has 10'):
        core.run({**WHITE, 'source': 'twelve'})
    np.savez('copy.npz', **np.load('small.npz'))
    train(log='copied', dataset='copy.npz', E=1, train_N=60, test_N=10)
    again = core.run({**WHITE, 'log': 'copied', 'source': 'cropped'})
    assert set(again[1]['accuracy']) == {0.05, 0.2}, 'the same file elsewhere is the same data set'


@pytest.mark.parametrize('changes, message', [
    ({'attack_type': 'L_2'}, 'attack_type must be FGSM or IFGSM to make images of given sizes, not L_2'),
    ({'attack_K': 3}, 'attack_K means nothing to the attack FGSM'),
    ({'attack_options': {'norm': 'L2'}}, 'attack_options means nothing here; attack_K and lr are'),
    ({'source': ''}, 'name the run whose network makes the adversarial images, with --set source=logs/RUN'),
    ({'source': 'nowhere'}, 'nowhere is not the working directory of a run'),
    ({'source': 'source', 'source_eid': 7}, 'epoch 7 is not archived in source; archived epochs: 6, 12'),
    ({'source': 'source', 'source_eid': 'all'}, "source_eid must be an epoch, 'last' or 'best'"),
    ({'source_eid': 6}, 'source_eid means nothing without a source'),
    ({'attack_N': 101}, 'attack_N is 101, but the test set of the run has 100 images')])
def test_evaluations_that_cannot_be_made_are_refused_in_one_sentence(changes, message, runs):
    with pytest.raises(UserError) as e:
        core.run({**WHITE, **changes})
    assert message in str(e.value) and '\n' not in str(e.value)
    assert not Path('out').exists()
