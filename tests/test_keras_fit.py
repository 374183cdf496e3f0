"""What stands beside the loss-based rate in ``fit``: other losses, weights of samples, other callbacks."""

from __future__ import annotations

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import callbacks as C
from test_keras_users import L, Recorder, same

from models import HPSparseSoftmaxCrossEntropy, LossBasedLR, MarginMonitor
from models.keras_fit import other_losses

N = 100
K = keras.losses


@pytest.fixture(scope='module')
def data(digits):
    (x, y), _ = digits
    return x[:N], y[:N]


def network(*layers):
    keras.utils.set_random_seed(1)
    return keras.Sequential([keras.Input((8, 8, 1)), L.Flatten(), *layers, L.Dense(10)])


def warned(net, *args, **kwargs):
    """What one ``fit`` of an epoch warns of, '' for nothing; it is one warning."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter('always')
        net.fit(*args, batch_size=50, verbose=0, **kwargs)
    found = [w for w in found if 'LossBasedLR' in str(w.message)]
    assert len(found) <= 1
    return str(found[0].message) if found else ''


def ours(y, z):
    return tf.nn.sparse_softmax_cross_entropy_with_logits(tf.cast(tf.reshape(y, [-1]), tf.int32), z)


# ---- the loss ----

@pytest.mark.long(after=3)
@pytest.mark.parametrize('loss, why', [
    (HPSparseSoftmaxCrossEntropy(), None),
    ('with a frame', None),
    (K.SparseCategoricalCrossentropy(from_logits=True), None),
    (K.CategoricalCrossentropy(from_logits=True), None),
    (ours, None),
    (lambda y, z: tf.nn.softmax_cross_entropy_with_logits(y, z), None),
    (lambda y, z: tf.reduce_sum(ours(y, z)), None),
    (K.SparseCategoricalCrossentropy(), 'from_logits=False'),
    ('sparse_categorical_crossentropy', 'from_logits=False'),
    (K.sparse_categorical_crossentropy, 'from_logits=False'),
    (K.SparseCategoricalCrossentropy(True, ignore_class=3), 'ignore_class=3'),
    (K.CategoricalCrossentropy(True, label_smoothing=0.1), 'label_smoothing=0.1'),
    (K.CategoricalFocalCrossentropy(from_logits=True), 'CategoricalFocalCrossentropy'),
    ('mse', 'mse'),
    (lambda y, z: ours(y, z) ** 2, '<lambda>'),
    (None, 'no losses'),
])
def test_another_loss_than_the_one_that_is_judged_is_told(loss, why, data):
    net = network()
    if loss == 'with a frame':  # it has a variable
        loss = HPSparseSoftmaxCrossEntropy(0.0, reduction='sum')
    net.compile('sgd', loss)
    found = other_losses(net, net.predict(data[0][:8], verbose=0), data[1][:8])
    assert found == [] if why is None else why in found[0]


@pytest.mark.long
def test_a_fit_warns_once_of_all_that_makes_its_loss_another(data):
    x, y = data
    net = network()
    net.compile('sgd', HPSparseSoftmaxCrossEntropy())
    unweighted = tf.data.Dataset.from_tensor_slices((x, y)).batch(50)
    weighted = tf.data.Dataset.from_tensor_slices((x, y, np.ones(N))).batch(50)
    rate = LossBasedLR(x, y)
    assert warned(net, x, y, callbacks=[rate]) == ''
    assert warned(net, unweighted, callbacks=[rate]) == ''
    for args, kwargs in (((x, y), {'class_weight': {i: 1.0 + i for i in range(10)}}),
                         ((x, y), {'sample_weight': np.linspace(0, 1, N)}), ((weighted,), {})):
        text = warned(net, *args, callbacks=[rate], **kwargs)
        assert 'class_weight or sample_weight): compile the model with' in text
    net = network(L.Dense(4, kernel_regularizer='l2'), L.ActivityRegularization(0.1))
    net.compile('sgd', K.SparseCategoricalCrossentropy(), loss_weights=[2.0])
    text = warned(net, x, y, callbacks=[C.TerminateOnNaN(), rate], sample_weight=np.ones(N))
    for why in ('SparseCategoricalCrossentropy with from_logits=False, loss_weights, class_weight or sample_weight, '
                'losses that the model adds', 'TerminateOnNaN ends fit'):
        assert why in text


@pytest.mark.parametrize('make', [lambda: L.Dense(4, bias_regularizer='l1'), lambda: L.ActivityRegularization(0.1)])
def test_with_a_frame_a_model_that_adds_losses_is_refused(make, data):
    net = network(make())
    net.compile('sgd', HPSparseSoftmaxCrossEntropy(0.0))
    with pytest.raises(ValueError, match='not in units of the frame'):
        net.fit(*data, verbose=0, callbacks=[LossBasedLR(*data)])


# ---- other callbacks ----

BEFORE = [
    (lambda: C.ModelCheckpoint('m.keras'), 'ModelCheckpoint saves weights that may be taken back: list it after'),
    (lambda: C.BackupAndRestore('backup'), 'BackupAndRestore saves weights that may be taken back: list it after'),
    (lambda: C.LambdaCallback(on_epoch_end=lambda e, logs: NET[0].save_weights('m.weights.h5')),
     'LambdaCallback saves weights that may be taken back'),
    (None, 'MarginMonitor measures weights that may be taken back: list it after'),
]
ANYWHERE = [
    (lambda: C.ModelCheckpoint('m.keras', save_freq=1), 'ModelCheckpoint saves weights within an epoch'),
    (lambda: C.BackupAndRestore('backup', save_freq=1), 'BackupAndRestore saves weights within an epoch'),
    (lambda: C.EarlyStopping('log_loss', mode='min', restore_best_weights=True), 'leave out restore_best_weights'),
    (lambda: C.ReduceLROnPlateau('loss'), 'ReduceLROnPlateau sets the learning rate too'),
    (lambda: C.LearningRateScheduler(lambda e, lr: 0.1), 'LearningRateScheduler sets the learning rate too'),
    (lambda: C.TerminateOnNaN(), 'TerminateOnNaN ends fit'),
    (lambda: C.EarlyStopping('val_loss'), "monitors 'val_loss', in units of a frame that moves: monitor 'log_loss'"),
]
NET: list[keras.Model] = []


@pytest.fixture(scope='module')
def net(data):
    net = network()
    net.compile('sgd', HPSparseSoftmaxCrossEntropy(0.0))
    NET[:] = [net]
    return net


@pytest.mark.long(after=1)
@pytest.mark.parametrize('make, text', BEFORE)
def test_what_saves_or_measures_comes_after_the_rate(make, text, net, data):
    make, rate = make or (lambda: MarginMonitor(*data)), LossBasedLR(*data)
    assert text in warned(net, *data, callbacks=[make(), rate])
    assert warned(net, *data, callbacks=[rate, make()]) == ''


@pytest.mark.long(after=1)
@pytest.mark.parametrize('make, text', ANYWHERE)
def test_what_sets_the_rate_or_restores_weights_is_told_wherever_it_stands(make, text, net, data):
    rate = LossBasedLR(*data)
    for callbacks in ([make(), rate], [rate, make()]):
        assert text in warned(net, *data, callbacks=callbacks, validation_data=data)


def test_two_rates_are_told_and_what_does_no_harm_is_not(net, data):
    rate = LossBasedLR(*data)
    assert 'two of LossBasedLR' in warned(net, *data, callbacks=[rate, LossBasedLR(*data)])
    harmless = [C.CSVLogger('log.csv'), C.LambdaCallback(on_epoch_end=lambda e, logs: None), Recorder()]
    later = [C.EarlyStopping('log_loss', mode='min'),
             C.ModelCheckpoint('m.keras', 'log_loss', save_best_only=True, mode='min')]
    assert warned(net, *data, callbacks=[*harmless, rate, *later]) == ''


@pytest.mark.long
def test_a_backup_after_the_rate_is_gone_on_with(data):
    """It restores its weights when the rate has measured already, and holds accepted ones only."""
    class Interrupt(C.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 3:
                raise KeyboardInterrupt

    from_: list[float] = []

    def fit(epochs, *more):
        net = network()
        net.compile(keras.optimizers.SGD(), HPSparseSoftmaxCrossEntropy(0.0))
        rate, recorder = LossBasedLR(*data, lr=1.0), Recorder()
        backup = C.BackupAndRestore('backup', delete_checkpoint=False)
        begun = C.LambdaCallback(on_epoch_begin=lambda epoch, logs: from_.append(rate.log_loss))
        history = net.fit(*data, batch_size=50, epochs=epochs, shuffle=False, verbose=0,
                          callbacks=[rate, backup, recorder, begun, *more]).history
        return history, recorder

    with pytest.raises(KeyboardInterrupt):
        fit(5, Interrupt())
    accepted = from_[-1]
    history, recorder = fit(5)
    assert len(history['log_loss']) == 2
    np.testing.assert_allclose(from_[-2:], [accepted, history['log_loss'][0]], rtol=1e-6)
    assert accepted < from_[0] - 0.1
    for i, is_accepted in enumerate(history['accepted']):
        assert history['log_loss'][i] <= from_[i - 2]
        assert is_accepted or same(recorder.ended[i][:2], recorder.begun[i][:2])


@pytest.mark.long(after=1)
@pytest.mark.parametrize('kind', ['dataset', 'generator', 'PyDataset', 'validation_split', 'initial_epoch'])
def test_fit_takes_its_data_in_any_form(kind, data):
    x, y = data

    class Sequence(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, i):
            return x[50 * i:50 * i + 50], y[50 * i:50 * i + 50]

    def generator():
        while True:
            yield from ((x[:50], y[:50]), (x[50:], y[50:]))

    args, kwargs = {
        'dataset': ((tf.data.Dataset.from_tensor_slices((x, y)).batch(50),), {}),
        'generator': ((generator(),), {'steps_per_epoch': 2}),
        'PyDataset': ((Sequence(workers=1),), {}),
        'validation_split': ((x, y), {'validation_split': 0.2}),
        'initial_epoch': ((x, y), {'initial_epoch': 1}),
    }[kind]
    net = network()
    net.compile(keras.optimizers.SGD(), HPSparseSoftmaxCrossEntropy(0.0))
    rate, monitor = LossBasedLR(x, y, lr=1.0), MarginMonitor(x, y)
    for _ in range(2):  # a second fit starts anew, from the weights as they are
        history = net.fit(*args, **kwargs, epochs=3, shuffle=False, verbose=0, callbacks=[rate, monitor]).history
        assert monitor.history['log_loss'] == history['log_loss']
        assert len(history['alpha']) == (2 if kind == 'initial_epoch' else 3)
        assert history['alpha'][0] == 1.0 and np.all(np.diff(history['log_loss']) <= 0)
