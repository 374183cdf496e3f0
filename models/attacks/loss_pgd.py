"""PGD up a loss of one's choice, as adversarial training takes it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import tensorflow as tf

from .. import checks
from ..margin_losses import MARGIN_LOSSES, MarginLoss, soft_logit_margin
from . import ops
from .balls import Rng, require_within_the_box
from .base import Net, rng_of
from .compiled import IMAGES, LABELS, PER_IMAGE, compiled
from .descent import Way, descend
from .step_starts import STARTS, Starting, starting_ball_of  # noqa: F401  (STARTS: for objectives)
from .within_budgets import BudgetAttack


class LossPGD(BudgetAttack):
    """The smallest of given budgets within which steps up a loss end at a wrong class.

    As Ding et al. (arXiv 1812.02637) attack what they trained: every restart takes all its steps, and its last point
    counts. Restarts are shared among the losses, and the first of them has those left over; the paper takes five with
    the cross entropy and five with CW. (The released code keeps for each image the point of largest margin, which is
    wrong if and only if any is; of an image that no restart made worse it keeps a black one, here the clean one.)

    The direction of the cross entropy's gradient is taken as that of SLM's, which is the same and does not vanish where
    the network is sure; see ``margin_losses``. ``PGD`` also looks at the points on the way, and finds more.

    Args:
        model: ``Model``, or any built Keras model that maps images to logits.
        eps_list: budgets, tried in ascending order; None for a list that suits the norm.
        k: steps.
        a: size of a step, in units of the budget.
        repeat: restarts within each budget; without a random start there is one with each loss.
        random_start: whether to start from a random point rather than from the clean image.
        norm: 'Linf' or 'L2'.
        losses: names of ``MARGIN_LOSSES``.
        floor: of L2, see ``BoxFirstL2``; with one the cross entropy's own gradient is taken.
        start: where random points are from: 'ball', see ``advertorch``, or 'step', see ``step_starts``.
        shift: of L2 and starts within a step, see ``StepL2``; with one the cross entropy's own gradient is taken.

    Raises:
        ValueError: an argument that is not such, or with which there is nothing to do.
    """

    ball: Starting
    depends_on_scale = True  # CW does
    _stops = False

    def __init__(self, model: Net, eps_list: Sequence[float] | None = None, k: int = 100, a: float = 0.25,
                 repeat: int = 10, random_start: bool = True, norm: str = 'Linf',
                 losses: Sequence[str] = ('xent', 'cw'), floor: float = 0.0, start: str = 'ball', shift: float = 0.0):
        if isinstance(losses, str) or not isinstance(losses, Sequence) or not losses:
            raise ValueError(f'losses must be a list of names, of {", ".join(MARGIN_LOSSES)}, not {losses!r}')
        self.losses = tuple(checks.one_of('each of losses', name, MARGIN_LOSSES) for name in losses)
        ball = starting_ball_of(norm, start, a, floor, shift)
        own_length = bool(floor or shift)
        self._loss: MarginLoss = self._climbed(self.losses[0], own_length)
        super().__init__(model, ball, eps_list, k, a, repeat, random_start)
        if not random_start:
            self.repeat = len(self.losses)
        self._by_restart = [name for name, share in zip(self.losses, np.array_split(range(self.repeat), len(losses)))
                            for _ in share]
        self._ended = compiled(self.perturb_from, IMAGES, IMAGES, LABELS, PER_IMAGE)
        self._by_loss = {name: compiled(partial(self._evaluated_with, self._climbed(name, own_length)),
                                        IMAGES, IMAGES, LABELS, PER_IMAGE) for name in self.losses}

    @staticmethod
    def _climbed(name: str, own_length: bool) -> MarginLoss:
        return soft_logit_margin if name == 'xent' and not own_length else MARGIN_LOSSES[name]

    def _way(self, i, x, y):
        return self._way_up(self._loss, x, y)

    def _way_up(self, loss: MarginLoss, x: tf.Tensor, y: tf.Tensor) -> Way:
        logits, gradient = ops.value_and_gradient(self.quick_net, x, lambda z: loss(z, y))
        return Way(-gradient, ops.linf_norm(gradient) == 0, logits)

    # ---- images of a given size ----

    def of_size(self, images: np.ndarray, labels: np.ndarray, eps: float, rng: Rng | int | None = None) -> np.ndarray:
        """The images where all ``k`` steps up the first loss end within the budget ``eps``, whether they fool the
        network or not: what adversarial training makes of them.

        Args:
            images: floats in [0, 1], [N, H, W, C].
            labels: the right classes, integers [N], or one-hot [N, num_labels].
            eps: the budget, a finite number of at least 0, in the attack's norm.
            rng: of the random start.

        Returns:
            float32 [N, H, W, C].

        Raises:
            ValueError: images, labels or a budget that are not such.
        """
        eps = checks.number('eps', eps, strict=False)
        x, y, _ = self._checked(images, labels)
        require_within_the_box('eps', eps, self.ball, x[0].size)
        each = np.full(len(x), eps, np.float32)
        uniform = rng_of(rng).uniform(size=x.shape).astype(np.float32) if self.random_start else None
        start = x if uniform is None else self.ball.start(x, each, uniform).numpy()
        return self._ended(start, x, y, each)[0]

    # ---- evaluations ----

    def _evaluated_with(self, loss: MarginLoss, start, clean, y, eps):
        x, _, stuck = descend(lambda i, x, y: self._way_up(loss, x, y), self.ball, self.bounds, self.k, start, clean,
                              y, eps, eps * self.a)
        return x, self._is_wrong_at(x, y), stuck

    def _descent(self, restart):
        return self._by_loss[self._by_restart[restart]]

    def _starts(self, x, active, budget, rng):
        # Drawn for every image, so that what an image gets does not depend on which others are done.
        uniform = rng.uniform(size=x.shape)[active].astype(np.float32)
        return self.ball.start(x[active], np.full(len(active), budget, np.float32), uniform).numpy()
