"""Learning-rate schedulers: they see the numbers of an attempt and answer 'go' or 'back', and the next rate.

They never touch weights or disk. The caller keeps the attempt on 'go'; on 'back' it restores the weights from before
the attempt and repeats the epoch with the new rate. In frame mode (``use_frame``) losses and rates are relative to
``exp(log_frame)``: the real loss is ``loss * exp(log_frame)``, the real rate ``lr * exp(-log_frame)``.

Reference: Lyu & Li, Gradient Descent Maximizes the Margin of Homogeneous Neural Networks, arXiv 1906.05890,
appendix "Loss-based learning rate scheduling".
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

from .checks import count, number
from .types import Decision, EpochInfo, NumericalFailure, Resumable


def _loss_of(info: EpochInfo | None) -> float:
    """The training loss of an attempt; nan stands for an attempt that failed."""
    stats = info['stats'] if info is not None else None
    return math.nan if stats is None else float(stats['loss'])


class LRScheduler(Resumable, ABC):
    """Base of all schedulers.

    Args:
        lr: the initial learning rate, above 0.
    """

    def __init__(self, lr: float):
        self.lr = number('lr', lr)
        self.started = False

    def get(self, info: EpochInfo | None = None) -> Decision:
        """Judges an attempt.

        Args:
            info: what the attempt produced (keys 'stats' and 'log_frame' are read); ignored in the first call,
                which only asks for the first rate.

        Returns:
            ``(cmd, lr)``: 'go' or 'back', and the rate of the next attempt.

        Raises:
            NumericalFailure: the attempt failed and a scheduler of constant rate has no smaller rate to offer.
        """
        if not self.started:
            self.started = True
            return Decision('go', self._first_rate())
        return self._judge(info)

    def _first_rate(self) -> float:
        return self.lr

    @abstractmethod
    def _judge(self, info: EpochInfo | None) -> Decision:
        """Answers for every attempt."""


class LRSchedulerWithFrame(LRScheduler):
    """A scheduler that can also be told that losses and rates are relative to a frame."""

    frame_enabled = False
    log_frame_0: float = math.nan
    bounded_by_frame = False
    """Whether the first epoch is accepted only if it brings the loss below exp(log_frame_0)."""
    needs_frame = False
    """Whether it works in frame mode only."""

    def use_frame(self, log_frame_0: float) -> None:
        """Switches to frame mode; ``log_frame_0`` is the frame's natural logarithm before the first epoch."""
        self.frame_enabled = True
        self.log_frame_0 = log_frame_0


def _constant_rate(lr: float, info: EpochInfo | None) -> float:
    """The real rate ``lr`` in the units of the next epoch: with a frame, those of exp(log_frame) * loss."""
    loss = _loss_of(info)
    if info is None or not math.isfinite(loss):
        raise NumericalFailure(f'the training diverged at the constant learning rate {lr:g}; choose a smaller lr')
    log_frame = info.get('log_frame')
    return lr if log_frame is None else lr * math.exp(log_frame) * loss


class ConstLR(LRSchedulerWithFrame):
    """A constant real rate. Never goes back: an attempt that fails raises NumericalFailure."""

    def _first_rate(self) -> float:
        return self.lr * math.exp(self.log_frame_0) if self.frame_enabled else self.lr

    def _judge(self, info: EpochInfo | None) -> Decision:
        return Decision('go', _constant_rate(self.lr, info))


class _Aggressive(LRScheduler):
    """Goes back when the loss rose or was not a number, else goes on; subclasses say how the rate moves."""

    def __init__(self, lr: float):
        super().__init__(lr)
        self.last_loss = math.inf

    def _judge(self, info: EpochInfo | None) -> Decision:
        loss = _loss_of(info)
        if not loss <= self.last_loss:  # written so that nan goes back
            self._lower()
            return Decision('back', self.lr)
        self.last_loss = loss
        self._raise()
        return Decision('go', self.lr)

    @abstractmethod
    def _lower(self) -> None: ...

    @abstractmethod
    def _raise(self) -> None: ...


class AggressiveLR(_Aggressive):
    """Halves the rate when the loss rose; doubles it after ``cd`` accepted epochs in a row."""

    def __init__(self, lr: float, cd: int = 5):
        super().__init__(lr)
        self.cd = number('cd', cd, 1, strict=False)
        self.rest_cd = self.cd

    def _lower(self) -> None:
        self.lr /= 2
        self.rest_cd = self.cd

    def _raise(self) -> None:
        self.rest_cd -= 1
        if self.rest_cd <= 0:
            self.lr *= 2
            self.rest_cd = self.cd


class AggressiveLRv2(_Aggressive):
    """Halves the rate when the loss rose; multiplies it by ``2 ** (1 / cd)`` otherwise."""

    def __init__(self, lr: float, cd: float = 5):
        super().__init__(lr)
        self.cd = number('cd', cd, 0.01, strict=False)

    def _lower(self) -> None:
        self.lr /= 2

    def _raise(self) -> None:
        self.lr *= 2 ** (1 / self.cd)


class AggressiveLRv3(_Aggressive):
    """Divides the rate by ``alpha2`` when the loss rose; multiplies it by ``alpha1`` otherwise."""

    def __init__(self, lr: float, alpha1: float = 2 ** (1 / 5), alpha2: float = 2 ** (1 / 5)):
        super().__init__(lr)
        self.alpha1 = number('alpha1', alpha1, 1, strict=False)
        self.alpha2 = number('alpha2', alpha2, 1)

    def _lower(self) -> None:
        self.lr /= self.alpha2

    def _raise(self) -> None:
        self.lr *= self.alpha1


class LossBasedLRv1(LRSchedulerWithFrame):
    """The paper's loss-based scheduler: a rate inversely proportional to the training loss, as large as it may be.

    The relative rate alpha(t) = lr(t) * loss(t) / loss0 is multiplied by ``alpha1`` after an epoch whose loss did not
    rise, and the epoch is repeated with alpha divided by ``alpha2`` when it did. In frame mode alpha itself is the
    rate in frame units.

    Args:
        lr: alpha(0).
        alpha1: growth on success, at least 1.
        alpha2: shrinkage on failure, above 1.
        eps: an epoch is accepted while new loss / old loss <= 1 + eps.
        loss0: the loss before the first epoch; used without a frame only.
    """

    bounded_by_frame = True

    def __init__(self, lr: float = 0.1, alpha1: float = 2 ** (1 / 5), alpha2: float = 2 ** (1 / 10),
                 eps: float = 0, loss0: float = math.log(10)):
        super().__init__(lr)
        self.alpha1 = number('alpha1', alpha1, 1, strict=False)
        self.alpha2 = number('alpha2', alpha2, 1)
        self.eps = number('eps', eps, 0, strict=False)
        self.loss0 = number('loss0', loss0)
        self.last_loss = self.loss0

    def _first_rate(self) -> float:
        return self._rate()

    def _rate(self) -> float:
        return self.lr if self.frame_enabled else self.lr * self.loss0 / self.last_loss

    def _judge(self, info: EpochInfo | None) -> Decision:
        loss = _loss_of(info)
        ratio = loss if self.frame_enabled else loss / self.last_loss
        if not ratio <= 1 + self.eps:  # written so that nan goes back
            self.lr /= self.alpha2
            return Decision('back', self._rate())
        if not self.frame_enabled and loss == 0:
            raise NumericalFailure('the training loss underflowed to 0 and a loss-based rate cannot divide by it; '
                                   'use train_mode=USE_FRAME')
        self.last_loss = loss
        self.lr *= self.alpha1
        return Decision('go', self._rate())


class ConstLRAndLossBasedLR(LRSchedulerWithFrame):
    """A constant rate until the training accuracy is exactly 1, from then on the loss-based rule (frame mode only).

    Before that no epoch is repeated, and an attempt that fails raises NumericalFailure. The relative rate of the
    second phase starts where the constant rate stood in the epoch that fitted the training set.
    """

    needs_frame = True

    def __init__(self, lr: float, alpha1: float = 2 ** (1 / 5), alpha2: float = 2 ** (1 / 5),
                 eps: float = 0, loss0: float = math.log(10)):
        super().__init__(lr)
        self.alpha1 = number('alpha1', alpha1, 1, strict=False)
        self.alpha2 = number('alpha2', alpha2, 1)
        self.eps = number('eps', eps, 0, strict=False)
        self.loss0 = number('loss0', loss0)
        self.fitted = False

    def _first_rate(self) -> float:
        if not self.frame_enabled:
            raise ValueError('call use_frame first: ConstLRAndLossBasedLR needs a frame')
        return self.lr * math.exp(self.log_frame_0)

    def _judge(self, info: EpochInfo | None) -> Decision:
        loss = _loss_of(info)
        if not self.fitted:
            rate = _constant_rate(self.lr, info)
            if info is not None and info['stats']['acc'] != 1.0:
                return Decision('go', rate)
            self.fitted = True
            self.lr = rate
        if not loss <= 1 + self.eps:  # written so that nan goes back
            self.lr /= self.alpha2
            return Decision('back', self.lr)
        self.lr *= self.alpha1
        return Decision('go', self.lr)


SMALLEST_TURN = 1e-9
"""Rate of margin ascent at which no step changes float32 weights any more."""


class MarginAscentLR(LRScheduler):
    """The rate of margin ascent: as large as it may be while the smoothed margin of all images does not fall.

    An epoch of ascent whose smoothed margin F_beta fell is repeated with the rate divided by ``alpha2``; after any
    other the rate is multiplied by ``alpha1``. Epochs of the warm-up have the rate ``warm_up``, and none is repeated.

    Args:
        lr: of the first epoch of ascent; the angle, in radians, by which a step turns a layer is of this order.
        warm_up: of the warm-up.
        alpha1: growth on success, at least 1.
        alpha2: shrinkage on failure, above 1.
        patience: epochs of warm-up after which the run ends.

    Raises:
        NumericalFailure: by ``get``: the warm-up failed, or did not fit the images in time; or no step, however small,
            raises the smoothed margin any more.
    """

    def __init__(self, lr: float = 3e-3, warm_up: float = 1e-3, alpha1: float = 2 ** 0.1, alpha2: float = 2 ** 0.25,
                 patience: int = 200):
        super().__init__(lr)
        self.warm_up = number('warm_up', warm_up)
        self.alpha1 = number('alpha1', alpha1, 1, strict=False)
        self.alpha2 = number('alpha2', alpha2, 1)
        self.patience = count('patience', patience)
        self.is_fitted = False
        self.warmed_up = 0

    def _first_rate(self) -> float:
        return self.lr if self.is_fitted else self.warm_up

    def _judge(self, info: EpochInfo | None) -> Decision:
        stats = info['stats'] if info is not None else None
        if self.is_fitted:
            if stats is None or not stats['smoothed_after'] >= stats['smoothed_before']:
                self.lr /= self.alpha2
                if self.lr < SMALLEST_TURN:
                    raise NumericalFailure('the smoothed margin rises no further, by whatever small steps; with '
                                           'another sharpness, or more active images, it may')
                return Decision('back', self.lr)
            self.lr *= self.alpha1
            return Decision('go', self.lr)
        if stats is None or not math.isfinite(stats['loss']):
            raise NumericalFailure(f'the warm-up diverged at the rate {self.warm_up:g}; choose a smaller warm_up')
        self.warmed_up += 1
        self.is_fitted = stats['fitted'] == 1
        if not self.is_fitted and self.warmed_up >= self.patience:
            raise NumericalFailure(
                f"after {self.patience} epochs of warm-up the accuracy is {100 * stats['acc']:.2f} % and the loss "
                f"{stats['loss']:.2e}, and margin ascent starts where all training images are fitted; give the warm-up "
                'another rate or optimizer, lr a larger patience, or ascent a share of images that may be misfit')
        return Decision('go', self._first_rate())


LR_SCHEDULERS: dict[str, type[LRScheduler]] = {
    'const': ConstLR,
    'aggressive': AggressiveLR,
    'aggressive-v2': AggressiveLRv2,
    'aggressive-v3': AggressiveLRv3,
    'loss-based-v1': LossBasedLRv1,
    'const-lr-and-loss-based-lr': ConstLRAndLossBasedLR,
    'ascent': MarginAscentLR,
}
"""Scheduler names, as the first entry of the flag ``lr``; a float alone stands for 'const'."""
