"""Model: a network, what it minimises, and how it steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from . import checks, losses, margins
from .augmentation import Augmentation
from .chains import differs_in_training
from .flavours import SCALE_FREE, ScaleFree
from .logits import class_labels
from .networks.keras_network import network_of
from .networks.network import Network, norms_of
from .optimizers import optimizer_of
from .replicas import Replicas
from .schedules import rate_control
from .statistics import Statistics
from .steps import Steps
from .stored import Stored
from .types import TrainMode, shown

LARGEST_NORM = 1e30
"""Bound of ``clip_norm``, which is taken times gradients in float32."""


class Minimised(Protocol):
    """What a model asks of an objective; see ``objectives.Objective``, which says what each does."""

    def losses(self, batch: Any) -> tf.Tensor: ...
    def build(self, net: keras.Model, images: int) -> None: ...
    def variables(self) -> Mapping[str, tf.Variable]: ...
    def controls(self, steps: np.ndarray, per_epoch: int) -> Mapping[str, np.ndarray]: ...


class Model(Steps, Statistics, Stored):
    """A classifier and how it is trained by gradient descent.

    Training and evaluation are compiled as a whole: one call runs an epoch, with the data set on the device.

    Units: with a frame (``log_frame`` not None) losses are ``real loss * exp(-log_frame)`` and rates
    ``real rate * exp(log_frame)``.

    Attributes:
        name: the model's name.
        network: the network; ``net``, ``layer_vars`` and ``is_homogeneous`` are its own.
        train_mode: whether training uses a frame, or is margin ascent.
        weight_decay: lambda of the term lambda / 2 * ||theta||^2 added to the real loss in training, not in statistics.
        augment: changes training images; see ``augmentation``. None leaves them as they are.
        objective: what training minimises; None for the cross entropy of ``losses``.
        vars: the variables that are trained.
        eval_batch: images per batch when evaluating.
        ascends: whether it is trained by margin ascent, see ``ascent``.
    """

    ascends = False

    def __init__(self, network: Network | keras.Model, train_mode: TrainMode = TrainMode.NORMAL,
                 weight_decay: float = 0.0, opt: Any = 'gd', schedule: Any = None, clip_norm: float | None = None,
                 name: str = 'model'):
        """
        Args:
            network: what an architecture gave, or a Keras model of one's own, see ``networks.network_of``.
            train_mode, weight_decay, name: see the attributes.
            opt: 'gd', gradient descent as in the paper, or another optimizer; see ``optimizers.Optimizer``, and with a
                frame ``flavours``.
            schedule: how the rate changes with the steps; see ``schedules.rate_control``.
            clip_norm: the largest norm of all gradients together, above which they are scaled down to it; None for any.

        Raises:
            ValueError: a value that is not such, or one that does not go with a frame.
        """
        self.name = name
        self.train_mode = train_mode
        if not isinstance(train_mode, TrainMode):
            raise ValueError(f'train_mode must be {" or ".join(map(str, TrainMode))}, not {shown(train_mode)}')
        if (train_mode is TrainMode.ASCENT) is not self.ascends:
            raise ValueError('train_mode=TrainMode.ASCENT goes with an AscentModel, which build_model makes')
        self.weight_decay = checks.number('weight_decay', weight_decay, strict=False)
        self.clip_norm = None if clip_norm is None else checks.number('clip_norm', clip_norm, high=LARGEST_NORM)
        self.schedule = rate_control(schedule)
        self.optimizer = None if isinstance(opt, str) and opt == 'gd' else optimizer_of(opt)
        self.augment: Augmentation | None = None
        for option, given in (('opt', self.optimizer), ('schedule', self.schedule), ('clip_norm', clip_norm)):
            if given is not None and train_mode is TrainMode.USE_FRAME and not isinstance(given, ScaleFree):
                also = f", or by {', '.join(SCALE_FREE)}" if option == 'opt' else ''
                raise ValueError(f"{option} belongs to train_mode=NORMAL; with a frame, training is gradient descent "
                                 f"at the scheduler's rate{also}")
        self.network = network if isinstance(network, Network) else network_of(network)
        self.net, self.layer_vars = self.network.net, self.network.layer_vars
        if self.net.losses:
            raise ValueError('the network adds losses of its own, such as those of regularizers, which a Model does not'
                             ' train by; leave them out, and use weight_decay or an objective')
        if train_mode is not TrainMode.NORMAL and differs_in_training(self.net):
            what = ('a frame follows the loss' if train_mode is TrainMode.USE_FRAME else
                    'margin ascent raises the margin')
            raise ValueError(f'{what} of the network itself, which batch normalisation and dropout train by another; '
                             'use train_mode=NORMAL')
        self.objective: Minimised | None = None
        self._prepare()

    def _prepare(self) -> None:
        by_id = {id(v.value): v for v in self.net.trainable_variables}
        in_layers = [v for vs in self.layer_vars.values() for v in vs]
        self.vars = in_layers + [v.value for v in by_id.values() if not any(v.value is own for own in in_layers)]
        if isinstance(self.optimizer, ScaleFree):
            place = {id(v): i for i, v in enumerate(self.vars)}
            layers = [[place[id(v)] for v in vs] for vs in self.layer_vars.values()]
            self.optimizer.build(self.vars, [*layers, *([i] for i in range(len(in_layers), len(self.vars)))])
        elif self.optimizer is not None:
            self.optimizer.build([by_id[id(v)] for v in self.vars])
        self.replicas = Replicas()
        self._prepare_steps()
        self._prepare_statistics()

    def minimise(self, objective: Minimised | Callable[..., tf.Tensor], images: int = 0, batch: int = 0) -> None:
        """Makes training minimise another objective than the cross entropy; to be called before training.

        Args:
            objective: an ``objectives.Objective``, or a function from ``net``, images [N, H, W, C], labels [N] and
                whether it trains (True), to the losses of the samples, float64 [N].
            images: how many there are in the training set, for objectives that keep something of each.
            batch: how many images a batch has at most, for objectives that keep something of each place in it.

        Raises:
            ValueError: the model has a frame, which is one of the cross entropy; or an objective that keeps something
                of each place in a batch is not told how many there are.
        """
        if self.train_mode is TrainMode.USE_FRAME:
            raise ValueError('the frame of train_mode=USE_FRAME is one of the cross entropy; another objective trains '
                             'with train_mode=NORMAL')
        owner: Any = getattr(objective, '__self__', objective)  # of the method ``losses``, too
        with self.replicas.strategy.scope():
            if hasattr(owner, 'controls'):
                built: Any = owner  # what keeps something of each place in a batch is told how many there are
                built.build(self.net, images, **({'batch': batch} if getattr(owner, 'per_place', False) else {}))
                self.objective = owner
            else:
                self.objective = _Function(objective)
            self._prepare_steps()

    def objective_record(self) -> Mapping[str, Any]:
        """What history says of the objective's state; see ``objectives.Objective.record``."""
        record = getattr(self.objective, 'record', None)
        return {} if record is None else record()

    # ---- network ----

    @property
    def num_labels(self) -> int:
        return int(self.net.output_shape[-1])

    @property
    def is_homogeneous(self) -> bool:
        """Whether scaling all parameters by c > 0 scales the logits by a power of c."""
        return self.network.is_homogeneous

    def norms(self) -> margins.Norms:
        """Norms of the parameters as they are now, in float64."""
        return norms_of(self.network.layers, self.network.order)

    def predict(self, x) -> tf.Tensor:
        """Logits, float32 [N, num_labels], of images [N, H, W, C] in [0, 1]."""
        return tf.cast(self.net(x, training=False), tf.float32)

    def _require_labels(self, y, n: int) -> None:
        if n == 0:
            raise ValueError('there must be an image at least')
        class_labels(y, self.num_labels, n)

    # ---- loss ----

    def hp_sparse_softmax_cross_entropy_with_logits_v2(self, y, y_, log_frame) -> tf.Tensor:
        """Per-sample cross entropy in units of exp(log_frame); see ``losses``."""
        return losses.hp_sparse_softmax_cross_entropy_with_logits_v2(y, y_, log_frame)

    def hp_sparse_softmax_cross_entropy_with_logits(self, y, y_, log_frame=None) -> tf.Tensor:
        """Per-sample cross entropy, float64 [N]: v2 in the given frame, v1 without one."""
        if log_frame is None:
            return losses.hp_sparse_softmax_cross_entropy_with_logits_v1(y, y_)
        return self.hp_sparse_softmax_cross_entropy_with_logits_v2(y, y_, log_frame)


class _Function:
    """A function of a network, images, labels and whether it trains, as an objective."""

    def __init__(self, function: Any):
        self._function = function

    def losses(self, batch: Any) -> tf.Tensor:
        return self._function(batch.net, batch.x, batch.y, batch.training)

    def build(self, net: keras.Model, images: int) -> None:
        pass

    def variables(self) -> Mapping[str, tf.Variable]:
        return {}

    def controls(self, steps: np.ndarray, per_epoch: int) -> Mapping[str, np.ndarray]:
        return {}
