"""The mathematics: networks, losses, margins, schedulers, archivers. Imports nothing from ``core``."""

import sys

from ._tensorflow import import_quietly

import_quietly()

from . import architectures, model  # noqa: E402
from .architectures import ARCHITECTURES, Residual, SimpleSequential, build_model  # noqa: E402
from .archivers import (  # noqa: E402
    ARCHIVERS,
    Archiver,
    BestArchiver,
    ConstEpochArchiver,
    IdleArchiver,
    LogLossArchiver,
    TwoPhaseConstEpochArchiver,
)
from .ascent.model import AscentModel  # noqa: E402
from .augmentation import AUGMENTATIONS  # noqa: E402
from .keras_callbacks import LossBasedLR, MarginMonitor  # noqa: E402
from .keras_objective import ObjectiveModel  # noqa: E402
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
    MarginAscentLR,
)
from .measures import certificate, homogeneity, kkt, spectral  # noqa: E402
from .model import Model  # noqa: E402
from .networks import initializers  # noqa: E402
from .networks.ensemble import ensemble  # noqa: E402
from .networks.initializers import (  # noqa: E402
    INITIALIZERS,
    InitPolicy,
    normalized_initializer,
    rescaling_initializer,
)
from .networks.network import CountedLayer, Network  # noqa: E402
from .objectives import Objective  # noqa: E402  (so that Keras finds them where it loads an ObjectiveModel)
from .types import BiasMode, Decision, EpochInfo, NumericalFailure, TrainMode  # noqa: E402

# Modules under the names they had before they moved into folders, so that people's own scripts go on working.
for _name, _module in (('base_model', model), ('simple_sequential', architectures), ('residual', architectures),
                       ('initializers', initializers), ('certificate', certificate), ('spectral', spectral),
                       ('kkt', kkt), ('homogeneity', homogeneity)):
    sys.modules[f'{__name__}.{_name}'] = globals()[_name] = _module

__all__ = [
    'ARCHITECTURES', 'ARCHIVERS', 'AUGMENTATIONS', 'AggressiveLR', 'AggressiveLRv2', 'AggressiveLRv3', 'Archiver',
    'AscentModel', 'BestArchiver', 'BiasMode', 'ConstEpochArchiver', 'ConstLR', 'ConstLRAndLossBasedLR',
    'CountedLayer', 'Decision',
    'EpochInfo', 'HPSparseSoftmaxCrossEntropy',
    'INITIALIZERS', 'IdleArchiver', 'InitPolicy', 'LRScheduler', 'LRSchedulerWithFrame', 'LR_SCHEDULERS',
    'LogLossArchiver', 'LossBasedLR', 'LossBasedLRv1', 'MarginAscentLR', 'MarginMonitor', 'Model', 'Network',
    'NumericalFailure', 'Objective', 'ObjectiveModel', 'Residual', 'SimpleSequential', 'TrainMode',
    'TwoPhaseConstEpochArchiver', 'build_model', 'ensemble',
    'hp_sparse_softmax_cross_entropy_with_logits_v1',
    'hp_sparse_softmax_cross_entropy_with_logits_v2', 'normalized_initializer', 'rescaling_initializer',
    'separate_logits',
]
