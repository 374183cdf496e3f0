"""What stands beside a callback in ``keras.Model.fit``: other callbacks, weights of samples, the loss.

``fit`` hands its callbacks neither their list nor its own arguments, so they are looked for among its local variables;
where another loop calls the callbacks, there is nothing to be found, and nothing is said.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, NamedTuple

import keras
import keras.callbacks as C
import numpy as np

from .losses import HPSparseSoftmaxCrossEntropy
from .margins import log_losses

_SAVE = {'save', 'save_weights', 'save_model', 'export'}
_SAVERS = ('BackupAndRestore', 'ModelCheckpoint', 'OrbaxCheckpoint')
_CROSS_ENTROPIES = (keras.losses.SparseCategoricalCrossentropy, keras.losses.CategoricalCrossentropy)
_NOT_THE_LOSS = {'from_logits': True, 'label_smoothing': 0, 'ignore_class': None}
"""Arguments of Keras's cross entropies, and the values with which they are the one of the logits."""


class Surroundings(NamedTuple):
    """Of a callback in ``fit``.

    Attributes:
        callbacks: all of them, in their order.
        has_weights: whether samples are weighted, by ``class_weight``, ``sample_weight`` or the dataset itself.
    """

    callbacks: list[C.Callback]
    has_weights: bool


def surroundings(model: keras.Model) -> Surroundings:
    """Of the callback that calls this."""
    callbacks: list[C.Callback] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        owner = frame.f_locals.get('self')
        if isinstance(owner, C.CallbackList):
            callbacks = list(owner.callbacks)
        if owner is model and 'epoch_iterator' in frame.f_locals:
            dataset = getattr(frame.f_locals['epoch_iterator'], '_distributed_dataset', None)
            element = getattr(dataset, 'element_spec', None)
            return Surroundings(callbacks, isinstance(element, tuple) and len(element) > 2 and element[2] is not None)
        frame = frame.f_back
    return Surroundings(callbacks, False)


def other_losses(model: keras.Model, logits: np.ndarray, labels: np.ndarray) -> list[str]:
    """What keeps the loss that a model is compiled with from being the mean cross entropy of its logits, up to a
    constant factor; empty if nothing does.

    Args:
        model: compiled.
        logits: of some samples, float [n, C].
        labels: theirs, integers [n].
    """
    losses = [loss for loss in keras.tree.flatten(model.loss) if loss is not None]
    found = [why for loss in losses for why in _differences(loss, logits, labels)]
    weights = getattr(getattr(model, '_compile_loss', None), '_user_loss_weights', None)
    if weights is not None and any(w not in (None, 1) for w in keras.tree.flatten(weights)):
        found.append('loss_weights')
    if len(losses) != 1:
        found.append(f'{len(losses) or "no"} losses')
    has_frame = any(getattr(loss, 'log_frame', None) is not None for loss in losses)
    if type(model).compute_loss is not keras.Model.compute_loss and not has_frame and not _gives_cross_entropy(
            lambda y, z: model.compute_loss(None, y, z, None), logits, labels):
        found.append("the model's own compute_loss")
    return found


def _differences(loss: Any, logits: np.ndarray, labels: np.ndarray) -> list[str]:
    if isinstance(loss, HPSparseSoftmaxCrossEntropy):
        return []
    name = loss if isinstance(loss, str) else getattr(loss, '__name__', type(loss).__name__)
    if type(loss) in _CROSS_ENTROPIES:
        config = loss.get_config()
        return [f'{name} with {key}={config[key]}' for key, value in _NOT_THE_LOSS.items()
                if key in config and config[key] != value]
    try:
        function = keras.losses.get(loss)
    except ValueError:
        function = None
    if callable(function) and _gives_cross_entropy(function, logits, labels):
        return []
    return [f'{name} with from_logits=False' if name.endswith('categorical_crossentropy') else name]


def _gives_cross_entropy(function: Callable[..., Any], logits: np.ndarray, labels: np.ndarray) -> bool:
    """Whether a function of labels, or one-hot labels, and logits gives cross entropies [n], or their mean or sum."""
    expected = np.exp(log_losses(logits, labels))
    for y in (labels, np.eye(logits.shape[1], dtype=logits.dtype)[labels]):
        try:
            values = keras.ops.convert_to_numpy(function(keras.ops.convert_to_tensor(y),
                                                         keras.ops.convert_to_tensor(logits))).astype(np.float64)
        except Exception:  # whatever a function of somebody else's raises, it does not take such labels
            continue
        right = [expected] if values.ndim else [expected.mean(), expected.sum()]
        if any(values.shape == np.shape(r) and np.allclose(values, r, rtol=1e-2, atol=1e-5) for r in right):
            return True
    return False


def conflicts(own: C.Callback, callbacks: list[C.Callback], measuring: type, has_frame: bool) -> list[str]:
    """Sentences about callbacks beside one that judges every epoch and may take it back.

    Args:
        own: that callback.
        callbacks: all, in their order.
        measuring: a kind of callback that measures weights at the end of an epoch.
        has_frame: whether losses are in units of a frame, which moves.
    """
    if own not in callbacks:
        return []
    before, name = callbacks[:callbacks.index(own)], type(own).__name__
    found = []
    for other in callbacks:
        if other is own:
            continue
        kind = type(other).__name__
        if isinstance(other, (C.ReduceLROnPlateau, C.LearningRateScheduler)):
            found.append(f'{kind} sets the learning rate too: leave it out')
        elif isinstance(other, type(own)) and other in before:  # the first of them says nothing
            found.append(f'there are two of {name}, and both set the learning rate: leave one out')
        elif isinstance(other, C.TerminateOnNaN):
            found.append(f'{kind} ends fit at a step that {name} would take back: leave it out')
        elif isinstance(other, C.EarlyStopping) and other.restore_best_weights:
            found.append(f'{kind} restores other weights than those of the last accepted epoch: leave out '
                         'restore_best_weights')
        elif isinstance(getattr(other, 'save_freq', None), int) and other.save_freq:
            found.append(f'{kind} saves weights within an epoch, which may be taken back: leave out save_freq')
        elif other in before and _saves(other):
            found.append(f'{kind} saves weights that may be taken back: list it after {name}')
        elif other in before and isinstance(other, measuring):
            found.append(f'{kind} measures weights that may be taken back: list it after {name}')
        monitored = getattr(other, 'monitor', None) if getattr(other, 'save_best_only', True) else None
        if has_frame and monitored in ('loss', 'val_loss'):
            found.append(f"{kind} monitors {monitored!r}, in units of a frame that moves: monitor 'log_loss', with "
                         f"mode='min', and list it after {name}")
    return found


def _saves(callback: C.Callback) -> bool:
    """Whether a callback saves the model at the end of an epoch, as far as that can be seen."""
    kinds = [getattr(C, kind) for kind in _SAVERS if hasattr(C, kind)]
    code = getattr(callback.on_epoch_end, '__code__', None)
    return isinstance(callback, tuple(kinds)) or (code is not None and not _SAVE.isdisjoint(code.co_names))
