"""Training by an objective, MMA say, in ``keras.Model.fit``."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from . import checks
from .batch import Batch
from .logits import class_labels, require_logits
from .losses import hp_sparse_softmax_cross_entropy_with_logits_v1
from .replicas import Replicas
from .types import shown

_STEPS = np.array([0, 1, 2, 10, 100, 10 ** 4, 10 ** 6])
"""At which one sees whether a control of an objective follows a schedule."""


@keras.saving.register_keras_serializable(package='max_margin')
class ObjectiveModel(keras.Model):
    """A network that ``fit`` trains by an objective in place of a loss, as in

        model = ObjectiveModel(net, MMA(hinge=0.3))
        model.compile('adam', metrics=['accuracy'])
        model.fit(x, y, batch_size=50, epochs=5, validation_data=(x_val, y_val))

    Whatever else one does with a Keras model, one does with this; ``net`` is trained in place, and stays the ordinary
    Keras model that it was.

    ``loss`` in the logs of training is that of the objective; metrics are those of the clean images, in inference, by
    the weights before each step. MMA adds ``margin``, the mean margin of the images seen so far. ``evaluate``, and so
    ``val_loss``, is as of the network compiled with the cross entropy.

    MMA keeps a margin of each image of the training set. ``fit`` numbers the images of arrays, anew if there are others
    than before, in number. Those of a dataset are numbered by who makes it: ``dataset.enumerate().map(lambda i, xy:
    ((xy[0], i), xy[1]))``, before it is shuffled or batched, with ``images`` given; else there is a warning, and every
    image starts from the least budget at every step. The margins are saved and loaded with the model, and with its
    weights.

    Args:
        net: a built Keras model from images to logits.
        objective: one of ``models.objectives``; its controls follow no schedules here.
        images: how many there are in the training set; not needed with arrays.
        seed: of what the objective draws; None for one that ``keras.utils.set_random_seed`` determines.
        name: of the model.

    Attributes:
        net, objective, images: as above.

    Raises:
        ValueError: an argument that is not such; a network that gives no logits, or adds losses in its call; several
            devices; in ``fit``, a model compiled with a loss, labels that are no classes or, for objectives that
            attack, images that are not in [0, 1]. Of a dataset, labels that are no classes give the loss nan.
    """

    def __init__(self, net: keras.Model, objective: Any, images: int | None = None, seed: int | None = None,
                 name: str | None = None):
        require_logits(net, type(self).__name__)
        super().__init__(name=name, dtype=net.dtype_policy, autocast=False)
        if not hasattr(objective, 'losses') or not hasattr(objective, 'controls') or isinstance(objective, type):
            raise ValueError('objective must be one of models.objectives, such as MMA(hinge=0.3), not '
                             f'{shown(objective)}')
        if getattr(objective, 'replays', 1) > 1 or getattr(objective, 'per_place', False):
            raise ValueError(f'{type(objective).__name__} takes several steps on each batch, which fit does not; train '
                             'by it in a run, or with models.Model')
        self.net, self.objective = net, objective
        self.images = None if images is None else checks.count('images', images)
        self._seed = None if seed is None else checks.count('seed', seed, 0)
        self._seeds = keras.random.SeedGenerator(self._seed)
        self._replicas = Replicas()
        self._controls = _constant(objective.controls(_STEPS, 1))
        self._require_one_device()
        if len(net.losses) > len(self._regularized):
            raise ValueError('the network adds losses in its call, such as those of activity regularizers, which an '
                             'objective that calls it several times cannot count; leave them out')
        self.supports_jit = False  # how many images a step attacks is not known before
        self.built = True
        objective.build(net, self.images or 0)

    # ---- as the network ----

    def call(self, inputs: Any, training: bool | None = None) -> tf.Tensor:
        return self.net(_images_and_index(inputs)[0], training=training)

    def summary(self, *args: Any, **kwargs: Any) -> None:
        self.net.summary(*args, **kwargs)

    # ---- training ----

    def fit(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """As of any Keras model; see the class."""
        self._require_one_device()
        if self.loss is not None:
            raise ValueError('the objective is what is minimised; leave loss out of compile')
        if y is not None and not isinstance(x, tuple):
            x = self._numbered(x, y)
        return super().fit(x, y, *args, **kwargs)

    def _numbered(self, x: Any, y: Any) -> tuple[Any, np.ndarray]:
        """Images, checked with their labels, and their numbers."""
        if not hasattr(x, 'shape'):
            raise ValueError(f'x must be an array of images, or a dataset, not a {type(x).__name__}')
        n = int(x.shape[0])
        class_labels(y, self.net(x[:1], training=False).shape[-1], n)
        if getattr(self.objective, 'in_the_box', False) and n:
            low, high = (float(f(tf.convert_to_tensor(x))) for f in (tf.reduce_min, tf.reduce_max))
            if not (low >= 0 and high <= 1):
                raise ValueError(f'images must be in [0, 1], in which they are attacked; these go from {low:g} to '
                                 f'{high:g}')
        if n != self.images:
            self._start_anew(n)
        return x, np.arange(n, dtype=np.int32)

    def _start_anew(self, images: int) -> None:
        with self.distribute_strategy.scope():
            self.objective.build(self.net, images)
        self.images = images
        self.train_function = None  # it has the variables of before

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        images, index = _images_and_index(x)
        index = self._known(index)
        n = tf.shape(images)[0]
        whole = tf.range(n) if index is None else index
        seed = tf.cast(self._seeds.next(), tf.int32)
        batch = Batch(self.net, images, y, True, index, tf.random.fold_in(seed, 1),
                      tf.cast(tf.convert_to_tensor(self.optimizer.iterations), tf.int64), self._controls, whole,
                      self._replicas, seed)
        measured = any(metric.name != 'loss' for metric in self.metrics)
        logits = self.net(images, training=False) if measured else None
        variables = self.net.trainable_variables
        with tf.GradientTape() as tape:
            loss = self._mean(self.objective.losses(batch), sample_weight)
            scaled = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, variables)
        self.optimizer.apply_gradients(zip(gradients, variables))
        batch.apply_updates()
        return {**self._measured(x, y, logits, sample_weight, loss, n), **self._metrics_of_objective()}

    def test_step(self, data: Any) -> dict[str, Any]:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        images, _ = _images_and_index(x)
        logits = self.net(images, training=False)
        loss = self._mean(hp_sparse_softmax_cross_entropy_with_logits_v1(y, logits), sample_weight)
        return self._measured(x, y, logits, sample_weight, loss, tf.shape(images)[0])

    def _measured(self, x: Any, y: Any, logits: Any, sample_weight: Any, loss: tf.Tensor,
                  n: tf.Tensor) -> dict[str, Any]:
        for metric in self.metrics:
            if metric.name == 'loss':
                metric.update_state(loss, sample_weight=n)
        return self.compute_metrics(x, y, logits, sample_weight=sample_weight)

    def _metrics_of_objective(self) -> Mapping[str, tf.Tensor]:
        return self.objective.metrics() if hasattr(self.objective, 'metrics') else {}

    def _mean(self, losses: tf.Tensor, sample_weight: Any) -> tf.Tensor:
        """The mean of losses, float64 [n], each times its weight, as Keras takes it, plus those of regularizers."""
        if sample_weight is not None:
            losses *= tf.cast(tf.reshape(sample_weight, [-1]), losses.dtype)
        return tf.add_n([tf.cast(tf.reduce_mean(losses), tf.float32),
                         *(tf.cast(v.regularizer(v), tf.float32) for v in self._regularized)])

    @property
    def _regularized(self) -> list[Any]:
        return [v for v in self.net.trainable_variables if getattr(v, 'regularizer', None) is not None]

    def _known(self, index: Any) -> tf.Tensor | None:
        """The numbers of images, int32 [n], if the objective has a use for them."""
        if not getattr(self.objective, 'per_image', False):
            return None
        if index is None:
            warnings.warn(_NO_NUMBERS, stacklevel=2)
            return None
        if self.images is None:
            raise ValueError('the images have numbers, so say how many there are: ObjectiveModel(net, objective, '
                             'images=...)')
        index = tf.cast(tf.reshape(index, [-1]), tf.int32)
        known = tf.debugging.assert_less(index, self.images, 'an image has a number that is not below images')
        with tf.control_dependencies([] if known is None else [known]):
            return tf.identity(index)

    def _require_one_device(self) -> None:
        if self.distribute_strategy.num_replicas_in_sync > 1:
            raise ValueError('ObjectiveModel trains on one device; a run trains on several, with --gpu, and so does '
                             'models.Model')

    # ---- saving ----

    def get_config(self) -> dict[str, Any]:
        return {'net': keras.saving.serialize_keras_object(self.net), 'images': self.images, 'seed': self._seed,
                'objective': keras.saving.serialize_keras_object(self.objective), 'name': self.name}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> ObjectiveModel:
        made = {key: keras.saving.deserialize_keras_object(config[key], custom_objects) for key in ('net', 'objective')}
        return cls(**{**config, **made})

    def save_own_variables(self, store: Any) -> None:
        store['images'] = np.int64(self.images or 0)
        store['seeds'] = tf.convert_to_tensor(self._seeds.state).numpy()
        for name, v in self.objective.variables().items():
            store[f'objective.{name}'] = tf.convert_to_tensor(v).numpy()

    def load_own_variables(self, store: Any) -> None:
        images = int(np.array(store['images'])) if 'images' in store.keys() else 0
        if images and images != self.images:
            self._start_anew(images)
        if 'seeds' in store.keys():
            self._seeds.state.assign(np.array(store['seeds']))
        for name, v in self.objective.variables().items():
            if f'objective.{name}' in store.keys():
                v.assign(np.array(store[f'objective.{name}']))


_NO_NUMBERS = ('images without numbers: the objective keeps nothing of them, and each starts from the least budget at '
               'every step; give fit arrays, or a dataset of ((image, number), label)')


def _images_and_index(x: Any) -> tuple[tf.Tensor, Any]:
    """Images and, if they are given, their numbers."""
    images, index = x if isinstance(x, (tuple, list)) and len(x) == 2 else (x, None)
    if isinstance(images, (tuple, list, dict)):
        raise ValueError('x must be images, or a pair of images and their numbers in the training set')
    return images, index


def _constant(controls: Mapping[str, np.ndarray]) -> dict[str, tf.Tensor]:
    """Controls of an objective, float64 scalars by name.

    Raises:
        ValueError: one follows a schedule.
    """
    for name, values in controls.items():
        if (values != values[0]).any():
            raise ValueError(f'{name} of the objective follows a schedule, which fit does not; give a number, or train '
                             'by a run or models.Model')
    return {name: tf.constant(values[0], tf.float64) for name, values in controls.items()}
