"""The contract of an attack, and the judge that holds every attack to it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, NamedTuple, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from .. import checks
from ..logits import class_labels, require_logits, require_logits_of_noise
from ..model import Model
from . import leads, ops
from .doubts import Doubts
from .precision import in_float32, is_half, rounding_of, with_full_gradient
from .quick_gradient import quick_to_differentiate

Net: TypeAlias = Model | keras.Model
Rng: TypeAlias = np.random.Generator | np.random.RandomState

IMAGES = tf.TensorSpec([None, None, None, None], tf.float32)
LABELS = tf.TensorSpec([None], tf.int64)
PER_IMAGE = tf.TensorSpec([None], tf.float32)
SCALAR = tf.TensorSpec([], tf.float32)

STEP_LENGTHS = 2.0 ** -np.arange(12)
"""Lengths of the single step that is tried where an attack that may go anywhere found nothing, in units of the
furthest."""


class _Found(NamedTuple):
    images: np.ndarray
    distances: np.ndarray
    success: np.ndarray
    eps: np.ndarray | None = None


class AttackResult(_Found):
    """What an attack found; unpacks as (images, distances, success, eps).

    Attributes:
        images: float32 [N, H, W, C], the adversarial images; all zero where none was found.
        distances: float64 [N], their distances from the clean images in the attack's norm; inf where none was found,
            0 where the clean image is misclassified (and is its own adversarial image).
        success: bool [N], whether an adversarial image was found.
        eps: float64 [N], for attacks within given budgets: the smallest budget that was enough (0 and inf as above);
            None for attacks that minimise the distance.
        doubts: which images may be less robust than this says, and why.
    """

    doubts: Doubts

    def __new__(cls, images: np.ndarray, distances: np.ndarray, success: np.ndarray, eps: np.ndarray | None = None,
                doubts: Doubts | None = None) -> AttackResult:
        self = super().__new__(cls, images, distances, success, eps)
        self.doubts = Doubts.none(len(success)) if doubts is None else doubts
        return self


class Proposal(NamedTuple):
    """What an attack's loop hands to the judge: images [N, H, W, C], whether each is one, the budgets of attacks within
    given budgets, and whether the loop met a place without a gradient where it stood still."""

    images: np.ndarray
    found: np.ndarray
    eps: np.ndarray | None = None
    stood_still: np.ndarray | None = None


class Attack(ABC):
    """Finds, for images, near images that a network classifies wrongly.

    A subclass writes ``_run``, which proposes images. The base class judges them: it clips them to the box, asks the
    network again, and measures, so that no subclass can overstate itself. Nor can it call robust what it merely failed
    at: where nothing was found, the base class looks whether a single gradient step finds something, and says so
    (``AttackResult.doubts``).

    Results do not depend on the scale of the logits, unless ``depends_on_scale``: gradients are those of logit
    differences in units of their own spread, never of a cross entropy, which at a loss of 1e-880 has the float32
    gradient 0, and are normalised. Networks in half precision are followed by gradients taken in float32.

    Args:
        model: ``Model``, or any built Keras model that maps images to logits.

    Raises:
        ValueError: the model is not built, gives no logits, or has less than two classes.

    Attributes:
        norm: 'L2' or 'Linf'.
        has_budgets: whether it works within given budgets rather than minimising the distance.
        eps_list: these budgets, ascending.
        depends_on_scale: whether what is found depends on the scale of the logits.
        net: the Keras model.
        quick_net: the same function of the images, float32, to take gradients of.
        slack: within an attack, a wrong logit counts as ahead if it leads by this share of the largest logit, so that
            no result hangs on rounding.
        bounds: the least and the largest value of a pixel.
        targeted: whether labels name the class to reach rather than the class to leave.
    """

    norm = 'L2'
    has_budgets: ClassVar[bool] = False
    depends_on_scale = False
    targeted = False
    bounds = (0.0, 1.0)
    eps_list: list[float] = []

    def __init__(self, model: Net):
        self.net = model.net if isinstance(model, Model) else model
        require_logits(self.net, 'an attack')
        self.slack = rounding_of(self.net)
        self.quick_net = with_full_gradient(self.net) if is_half(self.net) else in_float32(
            quick_to_differentiate(self.net))
        self._seen_to_give_logits = self.image_size is not None  # else when it is known
        self._classify = self._compiled(self._exact_logits, IMAGES)
        self._looked = self._compiled(self._look_down, IMAGES, LABELS)
        self._stepped = self._compiled(self._step_down, IMAGES, IMAGES, LABELS, PER_IMAGE)

    @abstractmethod
    def _run(self, x: np.ndarray, y: np.ndarray, rng: Rng) -> Proposal:
        """Proposes adversarial images.

        Args:
            x: float32 [N, H, W, C], clean images, none of them adversarial already.
            y: int64 [N], labels.
            rng: the only source of randomness.
        """

    def _propose(self, x: np.ndarray, y: np.ndarray, done: np.ndarray, rng: Rng) -> Proposal:
        """Proposals for the images that are not done, bool [N]."""
        return self._run(x[~done], y[~done], rng)

    def attack(self, images: np.ndarray, labels: np.ndarray, rng: Rng | int | None = None) -> AttackResult:
        """Attacks a batch.

        Args:
            images: floats in [0, 1], [N, H, W, C].
            labels: integers [N], or one-hot [N, num_labels]: the right classes (of a targeted attack, the targets).
            rng: source of random starts, or its seed; None for a fresh one.

        Raises:
            ValueError: images or labels that are not such, or a network that does not give finite logits.
        """
        x = self._checked_images(images)
        clean = self._checked_logits(x)
        y = self._checked_labels(labels, *clean.shape)
        if not isinstance(rng, (np.random.Generator, np.random.RandomState)):
            rng = np.random.default_rng(None if rng is None else checks.count('rng', rng, 0))
        done = self._reached(clean, y)
        found, success = x.copy(), done.copy()
        eps = np.zeros(len(x)) if self.has_budgets else None
        stood_still = np.zeros(len(x), bool)
        if not done.all():
            proposal = self._propose(x, y, done, rng)
            found[~done] = np.clip(proposal.images, *self.bounds)
            success[~done] = proposal.found
            if eps is not None:
                eps[~done] = proposal.eps
            if proposal.stood_still is not None:
                stood_still[~done] = proposal.stood_still
            success &= self._reached(self.logits(found), y)
        found[~success] = 0
        distances = np.where(success, self.distance(found, x), np.inf)
        if eps is not None:
            eps[~success] = np.inf
        doubts = self._doubts(x, y, distances if eps is None else eps, stood_still)
        return AttackResult(found, distances, success, eps, doubts)

    def _compiled(self, function: Callable, *specs: tf.TensorSpec) -> Callable[..., list[np.ndarray]]:
        """``function`` compiled, once for each size of images, for arguments of these kinds and any number of images:
        from arrays to arrays.

        (A bare tf.function traces, and warns, anew for many instances and shapes.)
        """
        traced: dict[tuple[int, ...], Callable] = {}

        def call(*args):
            size = args[0].shape[1:]
            if size not in traced:
                own = [tf.TensorSpec([None, *size], s.dtype) if s.shape.rank == 4 else s for s in specs]
                traced[size] = tf.function(function, input_signature=own).get_concrete_function()
            results = traced[size](*(tf.convert_to_tensor(a, s.dtype) for a, s in zip(args, specs)))
            return [t.numpy() for t in tf.nest.flatten(results)]
        return call

    def logits(self, x: np.ndarray) -> np.ndarray:
        """The network's logits, [N, num_labels]: float32, or float64 if the network's are."""
        return self._classify(x)[0]

    def _exact_logits(self, x: tf.Tensor) -> tf.Tensor:
        logits = self.net(x, training=False)
        return logits if logits.dtype == tf.float64 else tf.cast(logits, tf.float32)

    def _is_wrong(self, logits: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        """Whether a class other than ``y`` leads by more than rounding, bool [N]."""
        return leads.lead(logits, y) < -self.slack * leads.largest(logits)

    def _is_wrong_at(self, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        """The same of images, by the network itself."""
        return self._is_wrong(tf.cast(self.net(x, training=False), tf.float32), y)

    def _spread(self, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        """The unit of leads at clean images, [N]."""
        return leads.spread_of(self.quick_net(x), y)

    def distance(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Distances of images in the attack's norm, float64 [N]."""
        flat = np.abs(a.astype(np.float64) - b).reshape(len(a), int(np.prod(a.shape[1:])))
        return flat.max(axis=1) if self.norm == 'Linf' else np.sqrt(np.square(flat).sum(axis=1))

    def furthest(self, x: np.ndarray) -> np.ndarray:
        """Distances of images from what the box has furthest from them, float64 [N]."""
        return self.distance(x, np.where(x - self.bounds[0] > self.bounds[1] - x, *self.bounds))

    def _reached(self, logits: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Whether the predicted class is what the attack wants; on a tie the lowest class is predicted, and logits that
        are not finite predict none."""
        return ((logits.argmax(axis=1) == y) == self.targeted) & np.isfinite(logits).all(axis=1)

    # ---- what a single gradient step finds ----

    def _look_down(self, x, y):
        """The direction of a single step from clean images, and whether they have no gradient."""
        at = leads.slope(self.quick_net, x, y, self._spread(x, y), leads.SOFTEST,
                         None if self.norm == 'Linf' else self.bounds)
        return tf.sign(at.gradient) if self.norm == 'Linf' else ops.unit(at.gradient), at.blind

    def _step_down(self, x, direction, y, size):
        moved = tf.clip_by_value(x - ops.per_image(size) * direction, *self.bounds)
        return moved, self._is_wrong_at(moved, y)

    def _doubts(self, x: np.ndarray, y: np.ndarray, size: np.ndarray, stood_still: np.ndarray) -> Doubts:
        """Why images may be less robust than was found.

        Args:
            x, y: images and labels.
            size: budget or distance of what was found, inf where nothing was, [N].
            stood_still: whether the attack met a place without a gradient, bool [N].
        """
        doubts, lost = Doubts.none(len(x)), np.isinf(size)
        doubts.no_gradient |= lost & stood_still
        furthest = self.furthest(x)
        doubts.whole_box |= lost & (self.eps_list[-1] >= furthest if self.has_budgets else True)
        # An attack that the scale of the logits may mislead is compared where it found something, too.
        rows = np.flatnonzero(size > 0 if self.depends_on_scale else lost)
        if self.targeted or not len(rows):
            return doubts
        direction, blind = self._looked(x[rows], y[rows])
        doubts.no_gradient[rows] |= blind & lost[rows]
        lengths = [np.full(len(x), eps) for eps in self.eps_list] or [share * furthest for share in STEP_LENGTHS]
        for length in lengths:
            _, wrong = self._stepped(x[rows], direction, y[rows], length[rows])
            doubts.single_step[rows] |= wrong & (length[rows] < size[rows])
        return doubts

    # ---- what it is given ----

    @property
    def image_shape(self) -> tuple[int | None, ...]:
        """Of the network's images, None for what is not known; a subclassed model tells nothing."""
        return tuple(self.net.inputs[0].shape[1:]) if getattr(self.net, 'inputs', None) else (None, None, None)

    @property
    def image_size(self) -> int | None:
        """Values in an image; None if that is not known."""
        known = [n for n in self.image_shape if n is not None]
        return math.prod(known) if len(known) == len(self.image_shape) else None

    def _checked_images(self, images: np.ndarray) -> np.ndarray:
        x, shape = np.asarray(images), self.image_shape
        if len(shape) != 3:
            raise ValueError(f'an attack needs a model of images N x H x W x C, and this one takes N x '
                             f'{" x ".join(map(str, shape))}; a keras.layers.Reshape in front of it makes it one')
        if x.ndim != 4 or any(
                have != want for have, want in zip(x.shape[1:], shape) if want is not None):
            raise ValueError(f'images must have the shape N x {" x ".join(str(n or "any") for n in shape)}, not '
                             f'{x.shape}')
        if not np.issubdtype(x.dtype, np.floating):
            raise ValueError(f'images must be floats in [{self.bounds[0]:g}, {self.bounds[1]:g}], not {x.dtype}')
        if not np.isfinite(x).all():
            raise ValueError('images must be finite numbers; these have values that are not')
        if x.size and not (x.min() >= self.bounds[0] and x.max() <= self.bounds[1]):
            raise ValueError(f'images must be in [{self.bounds[0]:g}, {self.bounds[1]:g}]; '
                             f'these go from {x.min():.9g} to {x.max():.9g}')
        return x.astype(np.float32)

    def _checked_logits(self, x: np.ndarray) -> np.ndarray:
        if not self._seen_to_give_logits:
            require_logits_of_noise(self.net, x.shape[1:], 'an attack')
            self._seen_to_give_logits = True
        clean = self.logits(x)
        if not np.isfinite(clean).all():
            raise ValueError("the network's logits are not all finite")
        return clean

    def _checked_labels(self, labels: np.ndarray, n: int, classes: int) -> np.ndarray:
        y = np.asarray(labels)
        if y.ndim == 2 and y.shape == (n, classes) and ((y == 0) | (y == 1)).all() and (y.sum(axis=1) == 1).all():
            y = y.argmax(axis=1)
        return class_labels(y, classes, n)
