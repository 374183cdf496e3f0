"""Square: random search by squares of pixels, which asks for logits alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from .. import checks
from ..margin_losses import logit_margin, soft_logit_margin
from . import leads, ops
from .base import Attack, Net
from .compiled import IMAGES, LABELS, PER_IMAGE, compiled
from .results import Proposal
from .squares import SQUARES, shares
from .within_budgets import budgets

NUMBERS = tf.TensorSpec([None], tf.int32)
NUMBER = tf.TensorSpec([], tf.int32)
START = -1
"""The number of the query at the start, of whose random numbers the start is made."""
LOSSES = {'margin': logit_margin, 'ce': soft_logit_margin}
"""What is made large; the second orders images as the cross entropy does, but does not vanish (``margin_losses``)."""


class Square(Attack):
    """The smallest of given budgets within which random squares find a wrong class, without a gradient (Andriushchenko
    et al., arXiv 1912.00049).

    Each query changes a square at a random place by the whole budget, and the change stays if it makes the loss larger.
    Squares become smaller on a fixed schedule. An image that is fooled is done. What is looked at, and the numbers of
    AutoAttack, are the authors'; each image has squares of its own, at any place of the image.

    Args:
        model: ``Model``, or any built Keras model that maps images to logits.
        eps_list: budgets, tried in ascending order; None for a list that suits the norm.
        k: squares that are tried for an image, in each restart: as many queries, and one more for the start.
        p_init: the share of an image that the first squares cover; the authors have 0.05 (L-infinity) or 0.1 (L2) for
            networks that were not trained to be robust, and AutoAttack 0.8 for all.
        repeat: restarts within each budget.
        norm: 'Linf', 'L2' or 'L1'.
        loss: 'margin', by how much a wrong class leads, or 'ce', the cross entropy, whose result depends on the scale
            of the logits.
        rescale: whether the schedule, made for 10,000 squares, is stretched or shrunk to ``k``.
        released: whether, as in the code released with arXiv 2006.08403 (which has ``rescale=False``), one square
            serves all the images of a batch, never at the last row or column, and a tie counts as fooled.

    Raises:
        ValueError: an argument that is not such.
    """

    norm = 'Linf'
    has_budgets = True

    def __init__(self, model: Net, eps_list: Sequence[float] | None = None, k: int = 5000, p_init: float = 0.8,
                 repeat: int = 1, norm: str = 'Linf', loss: str = 'margin', rescale: bool = True,
                 released: bool = False):
        super().__init__(model, checks.one_of('norm', norm, SQUARES))
        self.eps_list = budgets(self.ball, eps_list, self.image_size)
        self.k = checks.count('k', k)
        self.p_init = checks.number('p_init', p_init, high=1.0)
        self.repeat = checks.count('repeat', repeat)
        self._loss_of = LOSSES[checks.one_of('loss', loss, LOSSES)]
        self.depends_on_scale = loss == 'ce'
        self.rescale = checks.flag('rescale', rescale)
        self.released = checks.flag('released', released)
        self._searched = compiled(self._search, IMAGES, LABELS, PER_IMAGE, NUMBERS, NUMBER, NUMBER)

    def _run(self, x, y, rng):
        images, eps = np.zeros_like(x), np.full(len(x), np.inf)
        active = np.arange(len(x))
        for budget in self.tried:
            for _ in range(self.repeat):
                ends, fooled, _ = self.search(x[active], y[active], budget, int(rng.uniform() * 2 ** 31), active,
                                              len(x))
                images[active[fooled]], eps[active[fooled]] = ends[fooled], budget
                active = active[~fooled]
                if not len(active):
                    return Proposal(images, np.isfinite(eps), eps)
        return Proposal(images, np.isfinite(eps), eps)

    def search(self, x: np.ndarray, y: np.ndarray, eps: float, seed: int, numbers: np.ndarray | None = None,
               of: int | None = None) -> list[np.ndarray]:
        """One random search within a budget.

        Args:
            x, y: images, float32 [N, H, W, C], and their labels, int64 [N].
            eps: the budget.
            seed: of all that is random, with the number of the query and of the image; 0 to 2^31 - 1.
            numbers: of the images, int [N]; None for 0 to N - 1.
            of: how many images have numbers.

        Returns:
            The images of the largest loss, or the first that are misclassified; whether they are, bool [N]; and how
            often the network was asked about each, int32 [N].
        """
        numbers = np.arange(len(x)) if numbers is None else numbers
        return self._searched(x, y, np.full(len(x), eps), numbers, seed, len(x) if of is None else of)

    def _search(self, x, y, eps, number, seed, of):
        height, width, channels = x.shape[1:]
        squares = SQUARES[self.norm]((height, width, channels), shares(self.k, self.p_init, self.rescale),
                                     self.released)

        def step(i, state, fixed):
            (best, fooled, loss, queries), (x, y, eps, number) = state, fixed
            new = squares.moved(i, best, x, eps, self._uniform(seed, i, number, of, fooled, *squares.each))
            new_loss, wrong = self._asked(new, y)
            better = ~fooled & ((new_loss > loss) | wrong)
            best = tf.where(ops.per_image(better), new, best)
            queries += tf.cast(~fooled, tf.int32)
            return [best, fooled | wrong, tf.where(better, new_loss, loss), queries], fooled | wrong

        no = tf.zeros_like(y, tf.bool)
        start = squares.start(x, eps, self._uniform(seed, START, number, of, no, *squares.at_start))
        loss, fooled = self._asked(start, y)
        ends, fooled, _, queries = ops.compacting_loop(
            step, [start, fooled, loss, tf.ones_like(number)], [x, y, eps, number], self.k)
        return ends, fooled, queries

    def _asked(self, x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The loss, and whether images are fooled."""
        logits = tf.cast(self.net(x, training=False), tf.float32)
        wrong = leads.lead(logits, y) <= 0 if self.released else self._is_wrong(logits, y)
        return self._loss_of(logits, y), wrong

    def _uniform(self, seed: tf.Tensor, query: tf.Tensor | int, number: tf.Tensor, of: tf.Tensor, fooled: tf.Tensor,
                 shared: int, own: int) -> tf.Tensor:
        """The random numbers of a query: those of an image are a function of the seed, the query and its number.

        Args:
            seed, query: int32.
            number: of the images, int32 [n].
            of: how many images have numbers.
            fooled: bool [n]; what they get does not matter.
            shared: how many numbers are, in the released way, the same for all images.
            own: how many are not.

        Returns:
            Numbers in [0, 1), float32 [n, shared + own].
        """
        every = tf.random.stateless_uniform([of, shared + own], tf.stack([seed, query]))
        mine = tf.gather(every, number)
        if not self.released or not shared:
            return mine
        return tf.concat([tf.repeat(every[:1, :shared], tf.shape(number)[0], axis=0), mine[:, shared:]], axis=1)
