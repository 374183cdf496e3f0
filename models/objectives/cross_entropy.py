"""Softmax cross entropy, as an objective."""

from __future__ import annotations

import tensorflow as tf

from ..losses import hp_sparse_softmax_cross_entropy_with_logits_v1
from .base import Objective
from .labels import nan_for_no_class
from .passes import ForwardPass


class CrossEntropy(Objective):
    """The cross entropy of Lyu & Li (arXiv 1906.05890) without a frame; see ``models.losses``."""

    def losses_of(self, run: ForwardPass) -> tf.Tensor:
        losses = hp_sparse_softmax_cross_entropy_with_logits_v1(run.y, run.logits)
        return nan_for_no_class(losses, run.y, run.logits)  # on a GPU, it takes another label for the logit 0
