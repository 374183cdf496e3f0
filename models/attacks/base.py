"""The contract of an attack, and the judge that holds every attack to it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from .. import checks
from ..logits import require_logits, require_logits_of_noise
from ..model import Model
from . import inputs, leads, ops
from .balls import Ball, Rng, ball_of
from .compiled import IMAGES, LABELS, PER_IMAGE, compiled
from .doubts import Doubts
from .precision import in_float32, is_half, rounding_of, with_full_gradient
from .quick_gradient import quick_to_differentiate
from .results import AttackResult, Proposal

Net: TypeAlias = Model | keras.Model

STEP_LENGTHS = 2.0 ** -np.arange(12)
"""Lengths of the single step that is tried where an attack that may go anywhere found nothing, in units of the
furthest."""


def rng_of(rng: Rng | int | None) -> Rng:
    """A source of random numbers: itself, one of a seed, or a fresh one for None.

    Raises:
        ValueError: no seed.
    """
    if isinstance(rng, (np.random.Generator, np.random.RandomState)):
        return rng
    return np.random.default_rng(None if rng is None else checks.count('rng', rng, 0))


class Attack(ABC):
    """Finds, for images, near images that a network classifies wrongly.

    A subclass writes ``_run``, which proposes images. The base class judges them: it clips them to the box, and to the
    ball of the budget that they are said to be within, asks the network again, and measures, so that no subclass can
    overstate itself. Nor can it call robust what it merely failed at: where nothing was found, the base class looks
    whether a single gradient step finds something, and says so (``AttackResult.doubts``).

    Results do not depend on the scale of the logits, unless ``depends_on_scale``: gradients are those of logit
    differences in units of their own spread, never of a cross entropy, which at a loss of 1e-880 has the float32
    gradient 0, and are normalised. Networks in half precision are followed by gradients taken in float32.

    Args:
        model: ``Model``, or any built Keras model that maps images to logits.
        norm: in which perturbations are measured: a name, see ``balls``, or a ball; None for the class's own.

    Raises:
        ValueError: the model is not built, gives no logits, or has less than two classes; or an unknown norm.

    Attributes:
        norm: its name, 'L2' or 'Linf'.
        ball: what the attack does within a budget of this norm.
        has_budgets: whether it works within given budgets rather than minimising the distance.
        eps_list: these budgets, ascending; of 0 there is nothing to try, and only what is wrong as it is counts.
        most: the largest distance that an attack without budgets looks at; inf for any.
        depends_on_scale: whether what is found depends on the scale of the logits.
        given: the arguments that it was made with, so that the same attack can be made of another network.
        net: the Keras model.
        quick_net: the same function of the images, float32, to take gradients of.
        slack: within an attack, a wrong logit counts as ahead if it leads by this share of the largest logit, so that
            no result hangs on rounding.
        bounds: the least and the largest value of a pixel.
        targeted: whether labels name the class to reach rather than the class to leave.
    """

    norm: str = 'L2'
    has_budgets: ClassVar[bool] = False
    depends_on_scale = False
    targeted = False
    bounds = (0.0, 1.0)
    eps_list: list[float] = []
    most = math.inf
    _proposes_what_was_judged = False  # so that the network need not be asked again
    given: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *args, **kwargs):
        self = super().__new__(cls)
        self.given = args, kwargs
        return self

    def __init__(self, model: Net, norm: str | Ball | None = None):
        self.ball = ball_of(self.norm if norm is None else norm)
        self.norm = self.ball.name
        self.net = model.net if isinstance(model, Model) else model
        require_logits(self.net, 'an attack')
        self.slack = rounding_of(self.net)
        self.quick_net = with_full_gradient(self.net) if is_half(self.net) else in_float32(
            quick_to_differentiate(self.net))
        self._seen_to_give_logits = self.image_size is not None  # else when it is known
        self._classify = compiled(self._exact_logits, IMAGES)
        self._looked = compiled(self._look_down, IMAGES, LABELS)
        self._stepped = compiled(self._step_down, IMAGES, IMAGES, LABELS, PER_IMAGE)

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

        Of a network that draws random numbers in inference, what is judged is one pass for each image: an image is
        misclassified to begin with if it was in the first, and an adversarial image counts if it is in one more pass,
        after the attack. So the robust accuracy is itself random, and differs from that of the next call.

        Args:
            images: floats in [0, 1], [N, H, W, C].
            labels: integers [N], or one-hot [N, num_labels]: the right classes (of a targeted attack, the targets).
            rng: source of random starts, or its seed; None for a fresh one.

        Raises:
            ValueError: images or labels that are not such, or a network that does not give finite logits.
        """
        x, y, clean = self._checked(images, labels)
        rng = rng_of(rng)
        done = self._reached(clean, y)
        found, success = x.copy(), done.copy()
        stood_still, by = np.zeros(len(x), bool), None
        if not done.all() and (self.tried or not self.has_budgets):
            found[~done], success[~done], proposal = self._judged(x, y, done, rng)
            if proposal.stood_still is not None:
                stood_still[~done] = proposal.stood_still
            if proposal.by is not None:
                by = np.full(len(x), -1)
                by[~done] = proposal.by
        distances, eps = self.distance(found, x), None
        if self.has_budgets:
            eps = np.where(done, 0, self._smallest_budgets(distances, math.prod(x.shape[1:])))
            success &= np.isfinite(eps)
            eps[~success] = np.inf
        found[~success], distances[~success] = 0, np.inf
        if by is not None:
            by[~success] = -1
        doubts = self._doubts(x, y, distances if eps is None else eps, stood_still)
        return AttackResult(found, distances, success, eps, doubts, by)

    def _judged(self, x: np.ndarray, y: np.ndarray, done: np.ndarray, rng: Rng
                ) -> tuple[np.ndarray, np.ndarray, Proposal]:
        """What is proposed for the images that are not done, bool [N], as it counts: within box and ball, float32
        [n, H, W, C]; whether it is adversarial, bool [n]; and the proposal."""
        proposal = self._propose(x, y, done, rng)
        images = self._clipped(proposal, x[~done])
        if self._proposes_what_was_judged:
            return images, proposal.found, proposal
        return images, proposal.found & self._reached(self.logits(images), y[~done]), proposal

    def _clipped(self, proposal: Proposal, x: np.ndarray) -> np.ndarray:
        """What is proposed, with what lies outside the box, or outside the ball of its budget, put back inside.

        Images without a budget of their own, or with one that is none of those given, are held to the largest.
        """
        images = np.clip(np.nan_to_num(proposal.images), *self.bounds).astype(np.float32)
        if not self.has_budgets:
            return images
        most = self.eps_list[-1]
        eps = np.full(len(x), most) if proposal.eps is None else np.clip(np.nan_to_num(proposal.eps), 0, most)
        far = proposal.found & (self.distance(images, x) > eps + self.ball.rounding(eps, math.prod(x.shape[1:])))
        if far.any():
            back = self.ball.onto(*(tf.constant(a[far], tf.float32) for a in (images, x, eps)))
            images[far] = np.clip(back.numpy(), *self.bounds)
        return images

    def _smallest_budgets(self, distances: np.ndarray, size: int) -> np.ndarray:
        """The smallest budget that holds each distance, float64 [N]; inf for none."""
        within = np.array(self.tried) + self.ball.rounding(np.array(self.tried), size)
        return np.array([*self.tried, np.inf])[np.searchsorted(within, distances)]

    @property
    def tried(self) -> list[float]:
        """The budgets that leave something to try, ascending."""
        return [eps for eps in self.eps_list if eps > 0]

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
        return self.ball.distance(a, b)

    def furthest(self, x: np.ndarray) -> np.ndarray:
        """Distances of images from what the box has furthest from them, float64 [N]."""
        return self.ball.furthest(x, self.bounds)

    def _reached(self, logits: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Whether the predicted class is what the attack wants; on a tie the lowest class is predicted, and logits that
        are not finite predict none."""
        return ((logits.argmax(axis=1) == y) == self.targeted) & np.isfinite(logits).all(axis=1)

    # ---- what a single gradient step finds ----

    def _look_down(self, x, y):
        """The direction of a single step from clean images, and whether they have no gradient."""
        at = leads.slope(self.quick_net, x, y, self._spread(x, y), leads.SOFTEST,
                         self.ball.walls(self.bounds))
        return self.ball.direction(at.gradient), at.blind

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
        doubts.whole_box |= lost & ((self.eps_list[-1] if self.has_budgets else self.most) >= furthest)
        # An attack that the scale of the logits may mislead is compared where it found something, too.
        rows = np.flatnonzero(size > 0 if self.depends_on_scale else lost)
        if self.targeted or not len(rows) or (self.has_budgets and not self.tried):
            return doubts
        direction, blind = self._looked(x[rows], y[rows])
        doubts.no_gradient[rows] |= blind & lost[rows]
        lengths = [np.full(len(x), eps) for eps in self.tried] if self.has_budgets else [
            np.minimum(share * furthest, self.most) for share in STEP_LENGTHS]
        for length in lengths:
            _, wrong = self._stepped(x[rows], direction, y[rows], length[rows])
            doubts.single_step[rows] |= wrong & (length[rows] < size[rows])
        return doubts

    # ---- what it is given ----

    @property
    def image_shape(self) -> tuple[int | None, ...]:
        """Of the network's images, None for what is not known; a subclassed model tells nothing."""
        return inputs.image_shape(self.net)

    @property
    def image_size(self) -> int | None:
        """Values in an image; None if that is not known."""
        return inputs.image_size(self.image_shape)

    def _checked(self, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Images, labels, and the logits of the images."""
        x = inputs.checked_images(images, self.image_shape, self.bounds)
        if not self._seen_to_give_logits:
            require_logits_of_noise(self.net, x.shape[1:], 'an attack')
            self._seen_to_give_logits = True
        clean = self.logits(x)
        if not np.isfinite(clean).all():
            raise ValueError("the network's logits are not all finite")
        return x, inputs.checked_labels(labels, *clean.shape), clean
