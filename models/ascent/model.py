"""Margin ascent: steps that raise the normalised margin itself, rather than lower a loss.

Every layer is kept at norm 1, where the smallest margin q_min is the normalised one, q_min / prod_l rho_l. What rises
is the smoothed margin

    F_beta = -(1 / beta) ln sum_n sum_{j != y_n} exp(-beta q_nj),    q_nj = z_n,y_n - z_nj,

a lower bound of q_min by at most ln(N (C - 1)) / beta. beta is such that the active images have a part in it, and at
most K / q_min; both bounds grow with the epochs.
(The loss says nothing here: with all layers times c it is that at margins times c^L, however small one wants it.)

Gradient descent raises the same quantity, ever more slowly, like 1 / log(1 / loss) (Lyu & Li, arXiv 1906.05890, theorem
4.1). See also progressive norm rescaling (arXiv 2311.14387) and steepest descent on homogeneous networks (arXiv
2410.22069).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from .. import margins
from ..in_graphs import graph_function
from ..model import Model
from ..statistics import tensors
from ..types import NumericalFailure
from .attempts import Attempt, Options, batches, gaps_of, smoothed
from .dual import DualMomentum, linear_layer
from .spheres import Steps, normalise, require_layers_that_scale, spheres_of

TRIED = 16
"""Images on which it is tried whether the logits follow each layer."""


class AscentModel(Model):
    """A model that is trained by margin ascent, once it fits its training images, or nearly all of them.

    Until then an epoch is one of any other training, with a model's optimizer and objective: the warm-up. An epoch of
    ascent takes steps on the active images alone, and ends in the mean of the weights on its way. Whoever judges it
    compares the statistics ``smoothed_before`` and ``smoothed_after``, F_beta of all images at the same beta.

    A network that is linear in its only layer takes the steps of ``dual`` from the start, and needs no warm-up.

    Where a layer has a bias that no norm counts, as later layers of ``BiasMode.ALL`` have, it is scaled so that the
    logits follow the norms all the same.
    """

    ascends = True
    further_statistics = ('sharpness', 'active', 'smoothed_before', 'smoothed_after', 'fitted')

    def _prepare_steps(self) -> None:
        if not hasattr(self, 'options'):
            self.options = Options()
            self._spheres = spheres_of(self)
            layer = linear_layer(self)
            self._dual = None if layer is None else DualMomentum(self, layer)
            self._sphere_steps = None if layer is not None else Steps(self.vars, self._spheres, self.replicas)
            self._epochs, self._fitted = (tf.Variable(0, dtype=tf.int64, trainable=False) for _ in range(2))
            self._beta = tf.Variable(1, dtype=tf.float64, trainable=False)
            self._q: np.ndarray | None = None
            self._kept_q: np.ndarray | None = None
            self._attempt: Attempt | None = None
            self._ascending = False
        super()._prepare_steps()

    def _state_vars(self) -> dict[str, tf.Variable]:
        way = self._dual or self._sphere_steps
        return {**super()._state_vars(), 'ascent/epochs': self._epochs, 'ascent/fitted': self._fitted,
                **{f'ascent/{name}': v for name, v in (way.variables() if way else {}).items()}}

    def ascend(self, options: Mapping[str, Any], x: Any, y: Any) -> None:
        """Says how; to be called before training.

        Args:
            options: see ``Options``; those that are not given have their defaults.
            x: training images, float32 [N, H, W, C].
            y: their labels, integers [N].

        Raises:
            ValueError: options that are not such, or a network whose logits do not follow the norms of its layers.
        """
        self.options = Options.of(options)
        if self._dual is None:
            require_layers_that_scale(self, self._spheres, tf.convert_to_tensor(x[:TRIED], tf.float32))
        self._measure(*tensors(x, y))

    @property
    def is_fitted(self) -> bool:
        """Whether the next epoch is one of ascent."""
        return bool(self._fitted.numpy())

    @property
    def replays(self) -> int:
        return 1 if self._ascending else super().replays

    def steps_of(self, images: int, batch_size: int) -> int:
        if self._dual is not None:
            return self.options.steps
        return self.options.rounds * self.options.steps if self.is_fitted else super().steps_of(images, batch_size)

    # ---- an epoch ----

    def train_epoch(self, x, y, order, batch_size, lr, log_frame=None, loss_ub=np.inf, on_steps=None, seed=None):
        """An epoch of the warm-up, or of ascent; see ``Model.train_epoch``.

        Args:
            order, batch_size, loss_ub: of the warm-up; ascent chooses its own images.
            lr: the rate of the warm-up's optimizer, or of ascent.

        Returns:
            float64 [steps], the loss of each step of the warm-up, or -F_beta of the batch of each of ascent.

        Raises:
            NumericalFailure: see ``Model.train_epoch`` and ``Attempt``; or the smoothed margin of the active images
                fell, and with it that of all.
            ValueError: see ``Model.train_epoch``.
        """
        x, y = tensors(x, y)
        if self._dual is not None:
            losses = self._dual.take(x, y, self.options.steps, self.options.dual_step)
            self._steps_taken += self.options.steps
            return losses
        if self._q is None:
            self._measure(x, y)
        if not self.is_fitted:
            self._compile_for(ascending=False)
            self._attempt = None
            return super().train_epoch(x, y, order, batch_size, lr, log_frame, loss_ub, on_steps, seed)
        return self._ascent_epoch(x, y, lr, on_steps, seed)

    def _ascent_epoch(self, x: tf.Tensor, y: tf.Tensor, lr: float, on_steps: Any, seed: Any) -> np.ndarray:
        options, steps = self.options, self._sphere_steps
        assert steps is not None and self._q is not None
        self._compile_for(ascending=True)
        self._attempt = attempt = Attempt(self._q, options, int(self._epochs.numpy()))
        normalise(self, self._spheres)
        self._beta.assign(attempt.beta)
        active, losses = attempt.active, []
        for k in range(options.rounds):
            if k:
                active = attempt.candidates[attempt.active_of(self._margins(x, y, attempt.candidates).min(axis=1))]
            key = np.atleast_1d(self._steps_taken if seed is None else seed).tolist() + [k] * (k > 0)
            rows = batches(active, options.steps, options.batch, key)
            steps.begin()
            losses.append(super().train_epoch(x, y, rows.ravel(), rows.shape[1], lr, None, np.inf, on_steps, key))
            steps.go_to_the_mean(options.steps)
            normalise(self, self._spheres)
        self._epochs.assign_add(1)
        after = smoothed(self._margins(x, y, active[:self.eval_batch]), attempt.beta)
        if not after >= attempt.before:  # written so that nan fails; of all images it is smaller still
            raise NumericalFailure(f'the smoothed margin of the active images fell from {attempt.before:.4e} to '
                                   f'{after:.4e}', np.concatenate(losses).tolist())
        return np.concatenate(losses)

    def _compile_for(self, ascending: bool) -> None:
        if ascending is not self._ascending:
            self._ascending = ascending
            self._train_steps = graph_function(self._take_steps, reduce_retracing=True)

    def _step(self, x, y, batch, rate, controls, seed, step, log_frame):
        if not self._ascending:
            return super()._step(x, y, batch, rate, controls, seed, step, log_frame)
        share = self.replicas.share(batch)
        images, labels = tf.gather(x, share), tf.gather(y, share)
        with tf.GradientTape() as tape:
            z = tf.cast(self.net(images, training=False), tf.float64)
            right = tf.one_hot(labels, self.num_labels, True, False, dtype=tf.bool)
            gaps = self._beta * (z - tf.gather(z, labels[:, tf.newaxis], axis=1, batch_dims=1))
            gaps = tf.where(right, tf.constant(-np.inf, tf.float64), gaps)
            own, whole = self.replicas.log_sum_exp(tf.reduce_logsumexp(gaps, axis=1), batch)
            falling = own / self._beta
        gradients = tape.gradient(falling, self.vars)
        weight = tf.cast(tf.exp(own - whole), tf.float32)  # the share of this replica's images in the gradient of all
        gradients = self.replicas.total_of([weight * g for g in gradients])
        self._sphere_steps.take(gradients, tf.cast(rate, tf.float32), self.options.epsilon)
        return whole / self._beta / self.replicas.count

    # ---- statistics ----

    def _further(self, logits: np.ndarray, labels: np.ndarray, norms: margins.Norms, loss: float) -> dict[str, float]:
        """The statistics of ascent; takes note of the margins, and whether the images are fitted."""
        self._q = q = gaps_of(logits, labels) / norms.prod
        at_one = self._dual is None and np.allclose(norms.layers, 1, atol=1e-4)
        attempt = self._attempt
        fits = attempt is not None or (np.mean(q.min(axis=1) <= 0) <= self.options.misfit
                                       and (at_one or self._dual is not None or loss < self.options.fitted))
        self._fitted.assign(int(fits))
        return {'sharpness': attempt.sharpness if attempt else 0.0,
                'active': len(attempt.active) if attempt else len(q),
                'smoothed_before': attempt.before if attempt else 0.0,
                'smoothed_after': smoothed(q, attempt.beta) if attempt else 0.0,
                'fitted': float(fits)}

    def _measure(self, x: tf.Tensor, y: tf.Tensor) -> None:
        found = self.test(x, y)
        self._further(found['y_'], y.numpy(), self.norms(), found['loss'])

    def _margins(self, x: tf.Tensor, y: tf.Tensor, images: np.ndarray) -> np.ndarray:
        """q_nj of some images, float64 [n, C], over the product of norms."""
        x, y = (tf.gather(t, images) for t in (x, y))
        return gaps_of(self.test(x, y)['y_'], y.numpy()) / self.norms().prod

    # ---- what is kept ----

    def keep(self) -> None:
        super().keep()
        self._kept_q = self._q

    def roll_back(self) -> None:
        super().roll_back()
        self._q, self._attempt = self._kept_q, None

    def restore_state(self, state: Mapping[str, np.ndarray]) -> None:
        self._q = self._attempt = None
        super().restore_state(state)

    def set_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        self._q = self._attempt = None
        super().set_weights(weights)

    def restore(self, path: Any) -> None:
        self._q = self._attempt = None
        super().restore(path)
