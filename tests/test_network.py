"""SimpleSequential: layers, weights, training steps, files."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from models import (
    BiasMode,
    InitPolicy,
    NumericalFailure,
    SimpleSequential,
    TrainMode,
    normalized_initializer,
    steps,
)

DENSE = [['F', 10, {'act': False}]]


def test_layer_names_count_poolings_and_biases_follow_the_mode():
    description = [['C', 3, [3, 3]], 'P', ['C', 4, 3, {'bias': True}], ['A'], ['F', 5], ['F', 10, {'act': False}]]
    names = {mode: list(SimpleSequential('m', (9, 8, 2), description, mode).weights()) for mode in BiasMode}
    assert names[BiasMode.NONE] == ['conv1_f', 'conv3_f', 'conv3_b', 'fc5_W', 'fc6_W']
    assert names[BiasMode.FIRST_LAYER] == ['conv1_f', 'conv1_b', 'conv3_f', 'conv3_b', 'fc5_W', 'fc6_W']
    assert names[BiasMode.ALL] == ['conv1_f', 'conv1_b', 'conv3_f', 'conv3_b', 'fc5_W', 'fc5_b', 'fc6_W', 'fc6_b']
    shapes = {k: v.shape for k, v in SimpleSequential('m', (9, 8, 2), description).weights().items()}
    assert shapes['conv1_f'] == (3, 3, 2, 3) and shapes['fc5_W'] == (2 * 2 * 4, 5), 'odd rows are dropped'


@pytest.mark.parametrize('act_type', ['relu', 'linear', 'relu2'])
def test_logits_against_a_network_written_out_in_numpy(act_type):
    rng = np.random.default_rng(0)
    x = rng.random((3, 4, 6, 2), dtype=np.float32)
    model = SimpleSequential('m', (4, 6, 2), [['C', 5, [1, 1]], ['A'], ['F', 4], ['F', 3, {'act': False}]],
                             BiasMode.ALL, act_type=act_type, init={'bias': 'random_normal'}, seed=2)
    w = model.weights()
    relu = lambda z: np.maximum(z, 0)  # noqa: E731
    act = {'relu': relu, 'linear': lambda z: z, 'relu2': lambda z: relu(z) ** 2}[act_type]
    h = act(x @ w['conv1_f'][0, 0] + w['conv1_b'])
    h = h.reshape(3, 2, 2, 3, 2, 5).mean(axis=(2, 4)).reshape(3, -1)
    h = act(h @ w['fc3_W'] + w['fc3_b']) @ w['fc4_W'] + w['fc4_b']
    np.testing.assert_allclose(model.predict(x), h, rtol=1e-4, atol=1e-5)


def test_a_step_subtracts_the_gradient_taken_at_one_weight_vector(digits):
    (x, y), _ = digits
    model = SimpleSequential('m', (8, 8, 1), [['C', 4, [3, 3]], ['P'], ['F', 10, {'act': False}]], seed=3,
                             init={'weight': 'he_normal'})
    with tf.GradientTape() as tape:
        loss = 0.5 * tf.reduce_mean(model.hp_sparse_softmax_cross_entropy_with_logits(y[:50], model.net(x[:50]), 0.3))
    expected = [v.numpy() - g.numpy() for v, g in zip(model.vars, tape.gradient(loss, model.vars))]
    losses = model.train_epoch(x, y, np.arange(50), 50, 0.5, 0.3)
    np.testing.assert_allclose(losses, [2 * loss.numpy()], rtol=1e-6)
    for v, e in zip(model.vars, expected):
        np.testing.assert_allclose(v, e, rtol=1e-5, atol=1e-7)


def test_rates_far_from_one_neither_under_nor_overflow_because_the_loss_carries_them(digits):
    """Real loss about 1e-217 and real rate 1e217: a rate multiplied onto a float32 gradient would give 0 or inf."""
    (x, y), _ = digits
    model = SimpleSequential('m', (8, 8, 1), DENSE, BiasMode.NONE, seed=1)
    labels = model.predict(x).numpy().argmax(axis=1)
    gaps = np.sort(model.predict(x).numpy(), axis=1)
    keep = np.argsort(gaps[:, -1] - gaps[:, -2])[-100:]
    model.set_weights({'fc1_W': model.weights()['fc1_W'] * np.float32(500 / (gaps[keep, -1] - gaps[keep, -2]).min())})
    x, y = x[keep], labels[keep]
    log_frame = model.get_stats(((x, y), (x, y)), 0.0)[0]['log_loss']
    assert log_frame < -490
    before = model.weights()['fc1_W']
    losses = model.train_epoch(x, y, np.arange(100), 100, 1.0, log_frame)
    np.testing.assert_allclose(losses, [1.0], rtol=1e-9)
    change = np.abs(model.weights()['fc1_W'] - before).max()
    assert 1e-3 < change < 10


@pytest.mark.long
def test_an_epoch_in_chunks_is_the_epoch_in_one_call(digits, monkeypatch):
    (x, y), _ = digits
    models = [SimpleSequential('m', (8, 8, 1), [['C', 4, [3, 3]], ['P'], ['F', 10, {'act': False}]], seed=3)
              for _ in range(2)]
    order, told = np.random.default_rng(0).permutation(len(x)), []
    monkeypatch.setattr(steps, 'PROGRESS_SECONDS', 1e-9)  # from the second chunk on, a chunk is one step
    whole = models[0].train_epoch(x, y, order, 10, 0.05, 0.8)
    parts = models[1].train_epoch(x, y, order, 10, 0.05, 0.8, on_steps=told.append)
    np.testing.assert_array_equal(whole, parts)
    assert told == [10] + [1] * (len(x) // 10 - 10)
    for a, b in zip(models[0].vars, models[1].vars):
        np.testing.assert_array_equal(a, b)


def test_images_beyond_the_last_full_batch_are_left_out(digits):
    (x, y), _ = digits
    model = SimpleSequential('m', (8, 8, 1), DENSE, seed=1)
    assert len(model.train_epoch(x, y, np.arange(105), 50, 0.1, 0.8)) == 2


def test_an_epoch_stops_after_the_step_whose_loss_is_above_the_bound(digits):
    (x, y), _ = digits
    model = SimpleSequential('m', (8, 8, 1), DENSE, seed=1)
    with pytest.raises(NumericalFailure, match='loss is too large') as e:
        model.train_epoch(x, y, np.arange(200), 50, 1e5, 0.8, loss_ub=100)
    assert len(e.value.batch_losses) == 2 and e.value.batch_losses[0] < 100 < e.value.batch_losses[1]


def test_weights_that_overflow_in_the_last_step_are_a_failure(digits):
    (x, y), _ = digits
    model = SimpleSequential('m', (8, 8, 1), DENSE, seed=1)
    model.keep()
    before = model.weights()
    with pytest.raises(NumericalFailure, match='weights are not finite'):
        model.train_epoch(x, y, np.arange(50), 50, 1e300, 0.8)
    model.roll_back()
    for k, v in model.weights().items():
        np.testing.assert_array_equal(v, before[k])


def test_roll_back_restores_the_weights_bit_for_bit_however_often(digits):
    (x, y), _ = digits
    model = SimpleSequential('m', (8, 8, 1), DENSE, seed=1)
    model.train_epoch(x, y, np.arange(500), 50, 0.1, 0.8)
    model.keep()
    kept = model.weights()
    for _ in range(3):
        model.train_epoch(x, y, np.arange(500), 50, 1.0, 0.8)
        assert not np.array_equal(model.weights()['fc1_W'], kept['fc1_W'])
        model.roll_back()
        np.testing.assert_array_equal(model.weights()['fc1_W'], kept['fc1_W'])


@pytest.mark.long(after=1)
@pytest.mark.parametrize('mode, log_frame', [(TrainMode.NORMAL, None), (TrainMode.USE_FRAME, 0.7)])
def test_weight_decay_pulls_on_the_real_loss(mode, log_frame, digits):
    (x, y), _ = digits
    step = {}
    for decay in (0.0, 0.1):
        model = SimpleSequential('m', (8, 8, 1), DENSE, BiasMode.NONE, mode, weight_decay=decay, seed=1)
        before = model.weights()['fc1_W']
        lr = 0.01 * (1 if log_frame is None else np.exp(log_frame))  # a real rate of 0.01
        model.train_epoch(x, y, np.arange(50), 50, lr, log_frame)
        step[decay] = model.weights()['fc1_W'] - before
    np.testing.assert_allclose(step[0.1] - step[0.0], -0.01 * 0.1 * before, rtol=1e-3, atol=1e-7)


def test_the_same_seed_gives_the_same_weights_and_layers_differ():
    description = [['F', 10], ['F', 10], ['F', 10, {'act': False}]]
    a, b, c = (SimpleSequential('m', (1, 10, 1), description, seed=s).weights() for s in (1, 1, 2))
    for k in a:
        np.testing.assert_array_equal(a[k], b[k])
    assert not np.array_equal(a['fc1_W'], c['fc1_W']) and not np.array_equal(a['fc1_W'], a['fc2_W'])


def test_a_saved_model_loads_in_keras_alone_and_restores_here(tmp_path, digits):
    (x, _), _ = digits
    description = [['C', 4, [3, 3]], ['P'], ['F', 10, {'act': False}]]
    model = SimpleSequential('m', (8, 8, 1), description, act_type='relu2', seed=1)
    model.save(tmp_path / 'model-1.keras')
    assert [p.name for p in tmp_path.iterdir()] == ['model-1.keras']
    alone = keras.saving.load_model(tmp_path / 'model-1.keras', safe_mode=True)
    np.testing.assert_array_equal(alone.predict(x[:20], verbose=0), model.net.predict(x[:20], verbose=0))
    other = SimpleSequential('m', (8, 8, 1), description, act_type='relu2', seed=2)
    other.restore(tmp_path / 'model-1.keras')
    np.testing.assert_array_equal(other.predict(x[:20]), model.predict(x[:20]))


@pytest.mark.parametrize('weights, message', [
    ({}, 'lack fc1_W, fc1_b; they have nothing'),
    ({'fc1_W': np.zeros((64, 10)), 'fc1_b': np.zeros(10), 'fc2_W': np.zeros(1)}, 'have fc2_W, which'),
    ({'fc1_W': np.zeros((64, 9)), 'fc1_b': np.zeros(10)}, r'fc1_W must have the shape \(64, 10\), not \(64, 9\)')])
def test_weights_that_do_not_fit_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        SimpleSequential('m', (8, 8, 1), DENSE).set_weights(weights)


@pytest.mark.parametrize('description, message', [
    ('CNN', 'must be a list of layers'),
    ([], 'must be a list of layers'),
    ([['X', 3], *DENSE], r"layer 1, \['X', 3\]: there is no layer kind 'X'"),
    ([['C', 8], *DENSE], r"layer 1, \['C', 8\]: C is a convolution, \['C', channels, \[height, width\]\]"),
    ([['C', 0, [3, 3]], *DENSE], 'whole numbers above 0'),
    ([['C', 8, [3, 3, 3]], *DENSE], 'C is a convolution'),
    ([['F', 8.5], *DENSE], 'F is a dense layer'),
    ([['P', 3], *DENSE], 'P is a 2x2 max pooling'),
    ([['P'], ['P'], ['P'], ['A'], *DENSE], r"layer 4, \['A'\]: a 2x2 pooling does not fit an image of 1x1"),
    ([['F', 8], ['C', 8, [3, 3]], *DENSE], 'layer 2, .*cannot come after a dense layer'),
    ([['F', 8], ['P'], *DENSE], 'layer 2, .*cannot come after a dense layer'),
    ([['F', 8, {'activ': False}], *DENSE], "no layer option 'activ'; did you mean 'act'?"),
    ([['F', 8, {'act': 'no'}], *DENSE], "'act' must be True or False"),
    ([[{}], *DENSE], 'it has no kind'),
    ([['C', 10, [3, 3]]], 'the last layer must be dense'),
    ([['F', 1]], 'the last layer must be dense')])
def test_descriptions_of_no_network_are_refused_with_the_layer_and_the_reason(description, message):
    with pytest.raises(ValueError, match=message):
        SimpleSequential('m', (8, 8, 1), description)


@pytest.mark.parametrize('options, message', [
    ({'act_type': 'relu3'}, "no activation 'relu3'; did you mean 'relu'"),
    ({'opt': 'adams'}, "no optimizer 'adams'"),
    ({'weight_decay': -1.0}, 'weight_decay must be'),
    ({'weight_decay': '0.1'}, 'weight_decay must be'),
    ({'init': {'weight_normalized': 3}}, 'init.weight_normalized must be True or False, not 3'),
    ({'init': {'weight': 'he_norm'}}, "no initializer 'he_norm'; did you mean 'he_normal'"),
    ({'init': {'weigth': 'zeros'}}, "init has no key 'weigth'; did you mean 'weight'"),
    ({'init': {'bias_normalized': True}}, 'zeros cannot be normalised')])
def test_unknown_names_are_refused_with_the_nearest_known_one(options, message):
    with pytest.raises(ValueError, match=message):
        SimpleSequential('m', (8, 8, 1), DENSE, **options)


@pytest.mark.parametrize('name, deviation', [
    ('he_normal', np.sqrt(2 / 400)), ('he_uniform', np.sqrt(2 / 400)), ('glorot_normal', np.sqrt(2 / 700)),
    ('glorot_uniform', np.sqrt(2 / 700)), ('random_normal', 1.0), ('truncated_normal', 0.8796), ('zeros', 0.0),
    ('he_normal_fan_out', np.sqrt(2 / 300)), ('torch', np.sqrt(1 / 3 / 400))])
def test_initializers_have_the_deviation_of_their_name_in_tensorflow_1(name, deviation):
    w = InitPolicy({'weight': name}).weight_init(seed=1)((400, 300)).numpy()
    np.testing.assert_allclose(w.std(), deviation, rtol=0.01)
    assert abs(w.mean()) < 0.01


def test_torch_starts_weights_and_biases_within_the_root_of_the_inputs_of_the_layer():
    layers = [['C', 32, [5, 5]], ['P'], ['C', 64, [5, 5]], ['P'], ['F', 1024], ['F', 10, {'act': False}]]
    net = SimpleSequential('lenet5', (28, 28, 1), layers, bias_mode=BiasMode.ALL, seed=3,
                           init={'weight': 'torch', 'bias': 'torch'})
    for name, inputs in (('conv1_f', 25), ('conv1_b', 25), ('conv3_f', 800), ('conv3_b', 800), ('fc5_W', 3136),
                         ('fc5_b', 3136), ('fc6_W', 1024), ('fc6_b', 1024)):
        values = net.weights()[name] * np.sqrt(inputs)
        assert np.abs(values).max() <= 1 and np.ptp(values) > 1 and 0.25 < np.abs(values).mean() < 0.75
    one, other = (InitPolicy({'bias': 'torch', 'bias_rescale': c}).bias_init(5, (3, 3, 2, 4))((4,)) for c in (1.0, 2.0))
    np.testing.assert_allclose(2 * one, other)
    with pytest.raises(ValueError, match="init.bias: 'torch' takes its range from the kernel of the layer"):
        InitPolicy({'bias': 'torch'}).bias_init(seed=1)


def test_rescaling_multiplies_and_normalising_sets_the_norm():
    plain = InitPolicy().weight_init(seed=1)((20, 30))
    np.testing.assert_allclose(InitPolicy({'weight_rescale': 3.0}).weight_init(seed=1)((20, 30)), 3 * plain, rtol=1e-6)
    unit = InitPolicy({'weight_normalized': True, 'weight_rescale': 2.5}).weight_init(seed=1)((20, 30))
    np.testing.assert_allclose(unit, plain * (2.5 / np.linalg.norm(plain)), rtol=1e-6)
    np.testing.assert_allclose(tf.norm(normalized_initializer(1.0, keras.initializers.Ones())((4,))), 1, rtol=1e-6)
