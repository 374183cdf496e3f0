"""The contract of an attack, and the judge that holds every attack to it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, NamedTuple, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from ..base_model import Model
from .quick_gradient import quick_to_differentiate

Net: TypeAlias = Model | keras.Model

LABELS = tf.TensorSpec([None], tf.int64)
PER_IMAGE = tf.TensorSpec([None], tf.float32)
SCALAR = tf.TensorSpec([], tf.float32)

SLACK = 1e-6
"""Within an attack, a wrong logit counts as ahead if it leads by this share of the largest logit: logits of one image
differ by about so much between batches of different size, and a result must not hang on that."""


class AttackResult(NamedTuple):
    """What an attack found.

    Attributes:
        images: float32 [N, H, W, C], the adversarial images; all zero where none was found.
        distances: float64 [N], their distances from the clean images in the attack's norm; inf where none was found,
            0 where the clean image is misclassified (and is its own adversarial image).
        success: bool [N], whether an adversarial image was found.
        eps: float64 [N], for attacks within given budgets: the smallest budget that was enough (0 and inf as above);
            None for attacks that minimise the distance.
    """

    images: np.ndarray
    distances: np.ndarray
    success: np.ndarray
    eps: np.ndarray | None = None


class Proposal(NamedTuple):
    """What an attack's loop hands to the judge: images [N, H, W, C], whether each is one, and the budgets of attacks
    within given budgets."""

    images: np.ndarray
    found: np.ndarray
    eps: np.ndarray | None = None


class Attack(ABC):
    """Finds, for images, near images that a network classifies wrongly.

    A subclass writes ``_run``, which proposes images. The base class judges them: it clips them to the box, asks the
    network again, and measures, so that no subclass can overstate itself.

    Results do not depend on the scale of the logits, unless a subclass says so: gradients are those of logit
    differences, never of a cross entropy, which at a loss of 1e-880 has the float32 gradient 0, and are normalised.

    Args:
        model: ``Model``, or any Keras model that maps images to logits.

    Raises:
        ValueError: the model does not give logits.

    Attributes:
        norm: 'L2' or 'Linf'.
        has_budgets: whether it works within given budgets rather than minimising the distance.
        net: the Keras model.
        quick_net: the same function of the images, to take gradients of.
        images: what a batch of images is, to TensorFlow.
        bounds: the least and the largest value of a pixel.
        targeted: whether labels name the class to reach rather than the class to leave.
    """

    norm = 'L2'
    has_budgets: ClassVar[bool] = False
    targeted = False
    bounds = (0.0, 1.0)

    def __init__(self, model: Net):
        self.net = model.net if isinstance(model, Model) else model
        last = self.net.layers[-1] if self.net.layers else None
        if isinstance(last, keras.layers.Softmax) or getattr(last, 'activation', None) is keras.activations.softmax:
            raise ValueError('the model gives probabilities; an attack needs one that gives logits, without softmax')
        self.quick_net = quick_to_differentiate(self.net)
        self.images = tf.TensorSpec([None, *self.net.input_shape[1:]], tf.float32)
        self._classify = self._compiled(lambda x: self.net(x, training=False), self.images)

    @abstractmethod
    def _run(self, x: np.ndarray, y: np.ndarray, rng: np.random.Generator | np.random.RandomState) -> Proposal:
        """Proposes adversarial images.

        Args:
            x: float32 [N, H, W, C], clean images, none of them adversarial already.
            y: int64 [N], labels.
            rng: the only source of randomness.
        """

    def attack(self, images: np.ndarray, labels: np.ndarray,
               rng: np.random.Generator | np.random.RandomState | None = None) -> AttackResult:
        """Attacks a batch.

        Args:
            images: floats in [0, 1], [N, H, W, C].
            labels: integers [N], or one-hot [N, num_labels]: the right classes (of a targeted attack, the targets).
            rng: source of random starts; None for a fresh one.

        Raises:
            ValueError: images or labels that are not such.
        """
        x, y = self._checked(images, labels)
        clean = self.logits(x)
        if not np.isfinite(clean).all():
            raise ValueError("the network's logits are not all finite")
        done = self._reached(clean, y)
        found, success = x.copy(), done.copy()
        eps = np.zeros(len(x)) if self.has_budgets else None
        if not done.all():
            proposal = self._run(x[~done], y[~done], rng if rng is not None else np.random.default_rng())
            found[~done] = np.clip(proposal.images, *self.bounds)
            success[~done] = proposal.found
            if eps is not None:
                eps[~done] = proposal.eps
            success &= self._reached(self.logits(found), y)
        distances = np.where(success, self.distance(found, x), np.inf)
        found[~success] = 0
        if eps is not None:
            eps[~success] = np.inf
        return AttackResult(found, distances, success, eps)

    def _compiled(self, function: Callable, *specs: tf.TensorSpec) -> Callable[..., list[np.ndarray]]:
        """``function`` compiled, once, for arguments of these kinds and any number of images: from arrays to arrays.

        (A bare tf.function traces, and warns, anew for many instances and shapes.)
        """
        traced: list[Callable] = []

        def call(*args):
            if not traced:
                traced.append(tf.function(function, input_signature=specs).get_concrete_function())
            results = traced[0](*(tf.convert_to_tensor(a, s.dtype) for a, s in zip(args, specs)))
            return [t.numpy() for t in tf.nest.flatten(results)]
        return call

    def logits(self, x: np.ndarray) -> np.ndarray:
        """The network's logits, float32 [N, num_labels]."""
        return self._classify(x)[0]

    def distance(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Distances of images in the attack's norm, float64 [N]."""
        flat = np.abs(a.astype(np.float64) - b).reshape(len(a), -1)
        return flat.max(axis=1) if self.norm == 'Linf' else np.sqrt(np.square(flat).sum(axis=1))

    def _reached(self, logits: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Whether the predicted class is what the attack wants; on a tie the lowest class is predicted."""
        return (logits.argmax(axis=1) == y) == self.targeted

    def _checked(self, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x, y = np.asarray(images), np.asarray(labels)
        shape, classes = tuple(self.net.input_shape[1:]), int(self.net.output_shape[-1])
        if x.ndim != 4 or any(have != want for have, want in zip(x.shape[1:], shape) if want is not None):
            raise ValueError(f'images must have the shape N x {" x ".join(map(str, shape))}, not {x.shape}')
        if not np.issubdtype(x.dtype, np.floating):
            raise ValueError(f'images must be floats in [{self.bounds[0]:g}, {self.bounds[1]:g}], not {x.dtype}')
        if not np.isfinite(x).all():
            raise ValueError('images must be finite numbers; these have values that are not')
        if x.size and not (x.min() >= self.bounds[0] and x.max() <= self.bounds[1]):
            raise ValueError(f'images must be in [{self.bounds[0]:g}, {self.bounds[1]:g}]; '
                             f'these go from {x.min():g} to {x.max():g}')
        if y.ndim == 2 and y.shape[1] == classes:
            y = y.argmax(axis=1)
        if y.shape != (len(x),) or not np.issubdtype(y.dtype, np.integer):
            raise ValueError(f'labels must be {len(x)} integers, not {y.dtype} of shape {y.shape}')
        if y.size and not (0 <= y.min() and y.max() < classes):
            raise ValueError(f'labels must be in 0..{classes - 1}; these go from {y.min()} to {y.max()}')
        return x.astype(np.float32), y.astype(np.int64)
