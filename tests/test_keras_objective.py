"""``ObjectiveModel``: MMA and other objectives in ``fit``, beside ``Model`` and beside plain Keras."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import in_eager_mode
from keras import callbacks as C

from models import MarginMonitor, Model, ObjectiveModel
from models.objectives import MMA, Adversarial, CrossEntropy, Weighted

L = keras.layers
N, B = 30, 15
HINGE = 0.3
CE = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@pytest.fixture(scope='module')
def data(digits):
    (x, y), _ = digits
    return x[:N], y[:N].astype(np.int64)


@pytest.fixture(scope='module')
def solved(data):
    """Weights of a linear network that has margins: those of least squares."""
    x, y = data
    pixels = np.c_[x.reshape(N, -1), np.ones(N)]
    right = 20 * (np.eye(10)[y] - 0.1)
    solution = np.linalg.solve(pixels.T @ pixels + np.eye(65), pixels.T @ right)
    return [solution[:-1].astype(np.float32), solution[-1].astype(np.float32)]


@pytest.fixture
def network(solved):
    def made(*more, policy=None, **options) -> keras.Sequential:
        dense = L.Dense(10, dtype=policy, **options)
        net = keras.Sequential([keras.Input((8, 8, 1)), L.Flatten(), dense, *more])
        dense.set_weights(solved)
        return net
    return made


@pytest.fixture(scope='module')
def margins(solved, data):
    """Of the images, by that network, as a step that changes nothing finds them."""
    x, y = data
    net = keras.Sequential([keras.Input((8, 8, 1)), L.Flatten(), L.Dense(10)])
    net.set_weights(solved)
    return margins_of(trained_by_model(net, x, y, [N], 0.0)[0])


def mma(**options) -> MMA:
    return MMA(**{'hinge': HINGE, 'min_eps': 0.1, 'k': 2, 'search_steps': 4, 'random_start': False, **options})


def model_of(net, objective=None, optimizer=None, eagerly=True, metrics=('accuracy',), **options) -> ObjectiveModel:
    """Compiled; run eagerly, which for a few steps is quicker than to trace them."""
    model = ObjectiveModel(net, mma() if objective is None else objective, **options)
    model.compile(optimizer or keras.optimizers.SGD(0.2), metrics=list(metrics), run_eagerly=eagerly)
    return model


def margins_of(model) -> np.ndarray:
    return model.objective.variables()['margins'].numpy()


def trained_by_model(net, x, y, batches, lr):
    """What ``Model`` makes of a network by MMA, in epochs of these batch sizes, and the mean loss of each."""
    judge = Model(net)
    judge.minimise(mma(), N)
    with in_eager_mode():
        return judge, [judge.train_epoch(x, y, np.arange(N), size, lr).mean() for size in batches]


def assert_same(a, b, atol=1e-6):
    for v, w in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_allclose(v, w, rtol=0, atol=atol)


def assert_same_state(a: ObjectiveModel, b: ObjectiveModel):
    assert_same(a.net, b.net, 0)
    assert_same_margins(a, b)


def assert_same_margins(a, b, atol=0.0):
    np.testing.assert_allclose(margins_of(a), margins_of(b), rtol=0, atol=atol)


# ---- what a step is ----

def test_fit_takes_the_steps_of_a_model(network, data):
    x, y = data
    model, monitor = model_of(network()), MarginMonitor(x, y)
    history = model.fit(x, y, batch_size=B, epochs=3, shuffle=False, verbose=0, callbacks=[monitor],
                        validation_data=(x[:20], y[:20])).history
    judge, losses = trained_by_model(network(), x, y, [B] * 3, 0.2)
    np.testing.assert_allclose(history['loss'], losses, rtol=1e-5)
    assert history['margin'][-1] == pytest.approx(judge.objective_record()['margins']['mean'], rel=1e-4)
    assert_same(model.net, judge.net, 1e-5)
    for name, v in judge.objective.variables().items():
        np.testing.assert_allclose(model.objective.variables()[name], v, rtol=0, atol=1e-5)
    moved = np.abs(model.net.get_weights()[0] - network().get_weights()[0]).max()
    assert (margins_of(model) > 0).sum() > N / 2 and moved > 1e-2
    assert list(history)[:5] == ['accuracy', 'loss', 'margin', 'val_accuracy', 'val_loss']
    logits = model.predict(x, verbose=0)
    leads = logits[np.arange(N), y] - np.where(np.eye(10)[y] == 1, -np.inf, logits).max(axis=1)
    assert monitor.stats['q_min'] == pytest.approx(leads.min(), rel=1e-4)


def by_arrays(model, x, y):
    model.fit(x, y, batch_size=8, verbose=0)


def by_a_split(model, x, y):
    model.fit(x, y, batch_size=8, validation_split=0.25, verbose=0)
    assert np.isnan(margins_of(model)[N * 3 // 4:]).all()


def by_a_dataset(model, x, y):
    numbered = tf.data.Dataset.from_tensor_slices((x, y)).enumerate().map(lambda i, xy: ((xy[0], i), xy[1]))
    model.fit(numbered.shuffle(N, seed=1).batch(8), shuffle=False, verbose=0)


def by_batches(model, x, y):
    for rows in np.split(np.random.default_rng(1).permutation(N), 3):
        model.train_on_batch((x[rows], rows), y[rows])


@pytest.mark.long(after=1)
@pytest.mark.parametrize('fit, eagerly, steps', [(by_arrays, False, 4), (by_a_dataset, True, 1), (by_batches, True, 1),
                                                 (by_arrays, True, 1), (by_a_split, True, 1)])
def test_every_image_keeps_its_own_margin_in_whatever_order(fit, eagerly, steps, margins, network, data):
    x, y = data
    model = ObjectiveModel(network(), mma(), images=N)
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=eagerly, steps_per_execution=steps)
    fit(model, x, y)
    found = margins_of(model)
    seen = ~np.isnan(found)
    assert seen.sum() >= N * 0.7 and len(set(margins)) > 4
    np.testing.assert_allclose(found[seen], margins[seen], rtol=0, atol=1e-5)


@pytest.mark.long
def test_without_numbers_a_dataset_is_warned_of_and_starts_from_the_least_budget(network, data):
    x, y = data
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(B)
    model, judge = model_of(network(), metrics=()), model_of(network(), metrics=())
    with pytest.warns(UserWarning, match='starts from the least budget at every step'):
        logs = model.fit(dataset, verbose=0, epochs=2, shuffle=False).history
    assert 'margin' not in logs
    for _ in range(2):
        for rows in np.split(np.arange(N), 2):
            judge._start_anew(B)  # nothing is known
            judge.train_on_batch((x[rows], np.arange(B)), y[rows])
    assert_same(model.net, judge.net)


@pytest.mark.long
def test_other_objectives_train_as_keras_does(network, data):
    x, y = data
    weights, classes = np.random.default_rng(1).uniform(size=N), {c: 0.3 + c for c in range(10)}
    options = {'kernel_regularizer': keras.regularizers.L2(0.01)}
    ours, plain = network(**options), network(**options)
    for model in (ObjectiveModel(ours, CrossEntropy()), plain):
        model.compile(keras.optimizers.SGD(0.1, momentum=0.9, clipnorm=0.5), None if model is not plain else CE,
                      metrics=['accuracy'], run_eagerly=True,
                      weighted_metrics=[keras.metrics.SparseCategoricalCrossentropy(from_logits=True)])
        for more in ({'sample_weight': weights}, {'class_weight': classes}):
            model.fit(x, y, batch_size=20, shuffle=False, verbose=0, **more)
        results = [model.evaluate(x, y, batch_size=20, sample_weight=weights, verbose=0, return_dict=True),
                   model.predict(x, verbose=0)]
        if model is not plain:
            found = results
    assert_same(ours, plain, 1e-5)
    assert found[0] == pytest.approx(results[0], rel=1e-5)
    np.testing.assert_allclose(found[1], results[1], atol=1e-5)
    model = model_of(network(), Weighted([(0.5, Adversarial(0.1, k=1)), (1.0, mma())]))
    assert np.isfinite(model.fit(x, y, verbose=0, batch_size=30).history['margin']).all()


def test_metrics_are_of_the_clean_images_before_the_step_and_in_inference(network, data):
    x, y = data
    net = network(L.Dropout(0.9))
    accuracy = (net.predict(x, verbose=0).argmax(axis=1) == y).mean()
    logs = model_of(net).fit(x, y, batch_size=N, verbose=0).history
    assert logs['accuracy'] == pytest.approx([accuracy]) and accuracy > 0.9
    assert 'accuracy' not in model_of(net, metrics=()).fit(x, y, batch_size=N, verbose=0).history


@pytest.mark.long
def test_batch_normalisation_is_that_of_the_objective(network, data):
    nets = [network(L.BatchNormalization()) for _ in range(2)]
    model_of(nets[0]).fit(*data, batch_size=B, epochs=2, shuffle=False, verbose=0)
    trained_by_model(nets[1], *data, [B] * 2, 0.2)
    assert_same(*nets, 1e-4)
    assert np.abs(nets[0].get_weights()[-1] - 1).max() > 0.05, 'the variances moved'


# ---- random numbers, and what is saved ----

@pytest.mark.long
def test_one_seed_gives_one_result(network, data):
    def trained(seed, own=None):
        keras.utils.set_random_seed(seed)
        model = model_of(network(), mma(random_start=True), seed=own)
        model.fit(*data, batch_size=B, verbose=0)
        return model
    first = trained(1)
    assert_same_state(first, trained(1))
    assert (margins_of(first) != margins_of(trained(2))).any()
    keras.utils.set_random_seed(3)
    ends = [model_of(network(), mma(random_start=True), seed=own) for own in (5, 5, 6)]
    for end in ends:
        end.fit(*data, batch_size=B, shuffle=False, verbose=0)
    assert_same_state(*ends[:2])
    assert (margins_of(ends[0]) != margins_of(ends[2])).any()


class Stop(Exception):
    pass


class StopAfter(C.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            raise Stop


def saved_and_loaded(model, fit, again):
    fit(epochs=1)
    model.save('model.keras')
    return keras.models.load_model('model.keras'), 1


def checkpointed(model, fit, again):
    fit(epochs=1, callbacks=[C.ModelCheckpoint('at-{epoch}.keras')])
    return keras.models.load_model('at-1.keras'), 1


def checkpointed_weights(model, fit, again):
    fit(epochs=1, callbacks=[C.ModelCheckpoint('at-{epoch}.weights.h5', save_weights_only=True)])
    other = again()
    other.optimizer.build(other.net.trainable_variables)
    other.load_weights('at-1.weights.h5')
    return other, 1


def backed_up(model, fit, again):
    with pytest.raises(Stop):
        fit(epochs=2, callbacks=[C.BackupAndRestore('backup'), StopAfter()])
    return again(), 0


@pytest.mark.long
@pytest.mark.parametrize('interrupted', [saved_and_loaded, checkpointed, checkpointed_weights, backed_up])
def test_a_training_that_was_saved_goes_on_as_if_it_had_not_been(interrupted, network, data):
    def again():
        return model_of(network(), mma(random_start=True), 'adam')

    def fit(model, epochs, **options):
        return model.fit(*data, batch_size=B, shuffle=False, verbose=0, epochs=epochs, **options)
    keras.utils.set_random_seed(1)
    whole = again()
    fit(whole, 2)
    keras.utils.set_random_seed(1)
    model = again()
    keras.utils.set_random_seed(2)
    resumed, begin = interrupted(model, lambda **options: fit(model, **options), again)
    assert begin == 0 or not np.isnan(margins_of(resumed)).any()
    fit(resumed, 2, initial_epoch=begin, callbacks=[C.BackupAndRestore('backup')])
    assert_same_state(resumed, whole)
    resumed.net.save('net.keras')
    assert_same(keras.models.load_model('net.keras'), whole.net, 0)


def test_keras_knows_the_objectives_and_their_arguments(network):
    terms = Weighted([(2.0, mma(norm='L2', hinge=1.5)), (1.0, CrossEntropy())])
    loaded = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(terms))
    assert [weight for weight, _ in loaded.terms] == [2, 1] and type(loaded.terms[1][1]) is CrossEntropy
    assert vars(loaded.terms[0][1])['_attack_options'] == vars(terms.terms[0][1])['_attack_options']
    assert loaded.terms[0][1].hinge == 1.5


def test_other_images_begin_anew(network, data):
    x, y = data
    model = model_of(network())
    model.fit(x, y, batch_size=B, verbose=0)
    known = margins_of(model)
    model.fit(x, y, batch_size=B, verbose=0, epochs=0)
    np.testing.assert_array_equal(margins_of(model), known)
    model.fit(x[:20], y[:20], batch_size=20, verbose=0)
    assert margins_of(model).shape == (20,)


# ---- devices and precisions ----

@pytest.mark.long
def test_in_the_scope_of_one_replica_it_is_the_same_and_several_are_refused(network, data):
    models = [model_of(network(), eagerly=False)]
    with tf.distribute.MirroredStrategy(['CPU:0']).scope():
        models.append(model_of(network(), eagerly=False))
    for model in models:
        model.fit(*data, batch_size=B, shuffle=False, verbose=0, epochs=2)
    assert_same(models[0].net, models[1].net)
    assert_same_margins(*models, 1e-6)
    with tf.distribute.MirroredStrategy(['CPU:0', 'CPU:1']).scope(), pytest.raises(ValueError, match='on one device'):
        model_of(network())


@pytest.mark.long
@pytest.mark.parametrize('policy, share', [('mixed_float16', 0.1), ('mixed_bfloat16', 0.6)])
def test_half_precision_trains_as_float32_does(policy, share, network, data):
    keras.config.set_dtype_policy(policy)
    try:
        half = model_of(network(), optimizer=keras.optimizers.SGD(0.5))
    finally:
        keras.config.set_dtype_policy('float32')
    assert half.net.compute_dtype == policy[6:]
    assert isinstance(half.optimizer, keras.optimizers.LossScaleOptimizer) == (policy == 'mixed_float16')
    whole = model_of(network(), optimizer=keras.optimizers.SGD(0.5))
    for model in (half, whole):
        model.fit(*data, batch_size=B, shuffle=False, verbose=0)
    begin, *ends = (model.get_weights()[0] for model in (network(), whole.net, half.net))
    assert np.linalg.norm(ends[1] - ends[0]) < share * np.linalg.norm(ends[0] - begin)
    assert np.abs(margins_of(half) - margins_of(whole)).mean() < 0.05 * HINGE < (margins_of(whole)).max()


# ---- refusals ----

def refused(message):
    return pytest.raises(ValueError, match=message)


def test_networks_that_it_does_not_train_are_refused_in_a_sentence(network):
    with refused('gives probabilities; ObjectiveModel needs one that gives logits'):
        ObjectiveModel(network(L.Softmax()), mma())
    image = keras.Input((8, 8, 1))
    flat = L.Flatten()(image)
    with refused('one input and one output, not of 1 and 2'):
        ObjectiveModel(keras.Model(image, [L.Dense(2)(flat), L.Dense(2)(flat)]), mma())
    with refused('adds losses in its call'):
        ObjectiveModel(network(activity_regularizer='l2'), mma())
    with refused('has not been built'):
        ObjectiveModel(keras.Sequential([L.Flatten(), L.Dense(10)]), mma())


@pytest.mark.parametrize('objective, message', [
    ('mma', "objective must be one of models.objectives, such as MMA.hinge=0.3., not 'mma'"),
    (MMA, 'objective must be one'), (mma(hinge=2.0), 'hinge is 2; pixels'),
    (Adversarial({'value': 0.1, 'schedule': {'type': 'cosine', 'decay_steps': 9}}), 'eps of the objective follows a')])
def test_objectives_that_it_does_not_take_are_refused_in_a_sentence(objective, message, network):
    with refused(message):
        ObjectiveModel(network(), objective)


def test_what_fit_is_not_to_be_given_is_refused_in_a_sentence(network, data):
    x, y = data
    model = model_of(network())
    with refused(r'images must be in \[0, 1\], .* from 0 to 255'):
        model.fit((x * 255).astype(np.uint8), y)
    with refused('give y.argmax'):
        model.fit(x, np.eye(10)[y])
    with refused('labels must be in 0..9'):
        model.fit(x, y + 1)
    with refused('x must be an array of images'):
        model.fit([x], y)
    with refused('say how many there are'):
        model.train_on_batch((x, np.arange(N)), y)
    model = model_of(network(), images=N // 2)
    with pytest.raises(tf.errors.InvalidArgumentError, match='a number that is not below'):
        model.train_on_batch((x, np.arange(N)), y)
    model.compile('sgd', CE)
    with refused('leave loss out of compile'):
        model.fit(x, y)


def test_xla_is_left_aside_with_a_warning(network, data):
    model = ObjectiveModel(network(), mma())
    with pytest.warns(UserWarning, match="doesn't support `jit_compile=True`"):
        model.compile('sgd', jit_compile=True)
    assert not model.jit_compile


@pytest.mark.long
def test_the_example_runs_from_anywhere_and_mma_has_the_larger_margin():
    example = Path(__file__).resolve().parents[1] / 'examples/keras-mma.py'
    run = subprocess.run([sys.executable, example, '--epochs', '5'], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    margins = {line.split(':')[0]: float(line.split()[-1]) for line in run.stdout.splitlines() if 'mean margin' in line}
    assert margins['MMA'] > 1.1 * margins['CrossEntropy'] > 0
