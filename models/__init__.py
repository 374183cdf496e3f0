"""The mathematics: networks, losses, margins, schedulers, archivers. Imports nothing from ``core``."""

from collections.abc import Callable

from ._tensorflow import import_quietly

import_quietly()

from .archivers import (  # noqa: E402
    ARCHIVERS,
    Archiver,
    ConstEpochArchiver,
    IdleArchiver,
    LogLossArchiver,
    TwoPhaseConstEpochArchiver,
)
from .augmentation import AUGMENTATIONS  # noqa: E402
from .base_model import Model  # noqa: E402
from .initializers import INITIALIZERS, InitPolicy, normalized_initializer, rescaling_initializer  # noqa: E402
from .keras_callbacks import LossBasedLR, MarginMonitor  # noqa: E402
from .losses import (  # noqa: E402
    HPSparseSoftmaxCrossEntropy,
    hp_sparse_softmax_cross_entropy_with_logits_v1,
    hp_sparse_softmax_cross_entropy_with_logits_v2,
    separate_logits,
)
from .lr_schedulers import (  # noqa: E402
    LR_SCHEDULERS,
    AggressiveLR,
    AggressiveLRv2,
    AggressiveLRv3,
    ConstLR,
    ConstLRAndLossBasedLR,
    LossBasedLRv1,
    LRScheduler,
    LRSchedulerWithFrame,
)
from .residual import Residual  # noqa: E402
from .simple_sequential import SimpleSequential  # noqa: E402
from .types import BiasMode, Decision, EpochInfo, NumericalFailure, TrainMode  # noqa: E402

ARCHITECTURES: dict[str, Callable[..., Model]] = {
    'simple_sequential': SimpleSequential,
    'residual': Residual,
}
"""Architecture names, for the flag ``arch``."""

__all__ = [
    'ARCHITECTURES', 'ARCHIVERS', 'AUGMENTATIONS', 'AggressiveLR', 'AggressiveLRv2', 'AggressiveLRv3', 'Archiver',
    'BiasMode', 'ConstLR',
    'ConstEpochArchiver', 'ConstLRAndLossBasedLR', 'Decision', 'EpochInfo', 'HPSparseSoftmaxCrossEntropy',
    'INITIALIZERS', 'IdleArchiver', 'InitPolicy', 'LRScheduler', 'LRSchedulerWithFrame', 'LR_SCHEDULERS',
    'LogLossArchiver', 'LossBasedLR', 'LossBasedLRv1', 'MarginMonitor', 'Model', 'NumericalFailure', 'Residual',
    'SimpleSequential', 'TrainMode', 'TwoPhaseConstEpochArchiver', 'hp_sparse_softmax_cross_entropy_with_logits_v1',
    'hp_sparse_softmax_cross_entropy_with_logits_v2', 'normalized_initializer', 'rescaling_initializer',
    'separate_logits',
]
