"""The things that flags describe: a scheduler, an objective, an archiver."""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import copy
from typing import Any

from models import (
    ARCHIVERS,
    LR_SCHEDULERS,
    Archiver,
    ConstLR,
    ConstLRAndLossBasedLR,
    LRScheduler,
    LRSchedulerWithFrame,
    MarginAscentLR,
    TrainMode,
)
from models.objectives import Objective, objective_of
from models.optimizers import is_scale_free
from models.registry import make
from models.types import shown

from ..errors import UserError, about


def scheduler_of(lr: Any, log_frame0: float | None = None) -> LRScheduler:
    """The scheduler that the flag ``lr`` describes, told of the frame unless ``log_frame0`` is None.

    Raises:
        UserError: an unknown name, arguments that do not fit, or a scheduler that does not suit the training mode.
    """
    with about('lr'):
        scheduler = make(LR_SCHEDULERS, lr, 'scheduler', bare='const',
                         hint='; or give a float alone, such as 0.1, for a constant rate')
    if log_frame0 is None:
        if getattr(scheduler, 'needs_frame', False):
            raise UserError(f'lr: {type(scheduler).__name__} needs train_mode=USE_FRAME')
    elif isinstance(scheduler, LRSchedulerWithFrame):
        scheduler.use_frame(log_frame0)
    else:
        raise UserError(f'lr: {type(scheduler).__name__} does not know frames; '
                        'use train_mode=NORMAL, or a constant or loss-based lr')
    if not math.isfinite(first := copy(scheduler).get().lr):
        raise UserError(f'lr: the first rate would be {first}; choose a smaller lr, or a smaller log_frame0')
    return scheduler


def objective_from(flags: Mapping[str, Any], scheduler: LRScheduler) -> Objective | None:
    """The objective that the flags describe; None for the cross entropy alone, which the model knows.

    Raises:
        UserError: no such objective, or a way of training that does not go with the scheduler.
    """
    with about('objective'):
        objective = None if flags['objective'] == 'cross-entropy' else objective_of(flags['objective'])
    _require_rate_for(flags, scheduler)
    framed = flags['train_mode'] is TrainMode.USE_FRAME  # then the model itself says which optimizers go with that
    others = {
        'objective': objective is not None, 'augment': flags['augment'] is not None,
        **{f'model.{k}': flags['model'].get(k, plain) != plain for k, plain in (
            ('opt', 'gd'), ('schedule', None), ('clip_norm', None))}}
    if isinstance(scheduler, MarginAscentLR):  # what is not plain gradient descent warms up, but for a schedule
        others = {'model.schedule': others['model.schedule']}
    for name, given in others.items():
        if given and not isinstance(scheduler, ConstLR) and not (name == 'model.opt' and framed):
            raise UserError(f'{name} does not go with lr={shown(flags["lr"])}: that follows the cross entropy of '
                            'gradient descent on the training set itself, so lr must be a constant')
    return objective


def require_ascent_of_both(flags: Mapping[str, Any], scheduler: LRScheduler) -> None:
    """Sees that margin ascent is asked for as a way of training and as a rate, or as neither.

    Raises:
        UserError: it is asked for by one alone, or its flags are without it.
    """
    ascends = flags['train_mode'] is TrainMode.ASCENT
    if ascends is not isinstance(scheduler, MarginAscentLR):
        raise UserError(f"train_mode=ASCENT and lr=('ascent', ...) go together; here train_mode is "
                        f"{flags['train_mode'].name}, and lr {shown(flags['lr'])}")
    if flags['ascent'] and not ascends:
        raise UserError('ascent is for train_mode=ASCENT alone')
    if ascends and flags['steps'] is not None:
        raise UserError('steps does not go with train_mode=ASCENT, whose epochs are of two lengths; give E')


def _require_rate_for(flags: Mapping[str, Any], scheduler: LRScheduler) -> None:
    """Sees that, with a frame, the rate is not a constant of the real loss where steps do not depend on that.

    Raises:
        UserError: it is.
    """
    opt = flags['model'].get('opt', 'gd')
    with about('model'):
        free = is_scale_free(opt)
    if free and flags['train_mode'] is TrainMode.USE_FRAME and isinstance(scheduler, (ConstLR, ConstLRAndLossBasedLR)):
        raise UserError(f'model.opt={shown(opt)} does not go with lr={shown(flags["lr"])}: its steps do not shrink '
                        "with the loss, so with a frame lr must be 'loss-based-v1', which finds their size")


def archiver_of(archive: Any) -> Archiver:
    """The archiver that the flag ``archive`` describes.

    Raises:
        UserError: an unknown name, or arguments that do not fit.
    """
    with about('archive'):
        return make(ARCHIVERS, archive, 'archiver', bare='const-epoch',
                    hint='; or give an int alone, such as 50, for every so many epochs')
