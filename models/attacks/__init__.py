"""Attacks: a class a file, and their names."""

from __future__ import annotations

from enum import Enum

from .an_pgd import ANPGD
from .apgd import APGD
from .auto_attack import AutoAttack
from .base import Attack, AttackResult
from .carlini_l2 import CarliniL2
from .ddn import DDN
from .fab import FAB
from .fgsm import FGSM
from .fmn import FMN
from .gradient_descent import GradientDescentAttack
from .ifgsm import IFGSM
from .l2_bim import L2BIM
from .l2_deepfool import L2DeepFool
from .l2_fast import L2Fast
from .linf_pgd import LinfPGDAttack
from .loss_pgd import LossPGD
from .pgd import PGD
from .square import Square

ATTACKS: dict[str, type[Attack]] = {
    'L_2': CarliniL2,
    'L_INF': LinfPGDAttack,
    'L_2_BIM': L2BIM,
    'L_2_DEEPFOOL': L2DeepFool,
    'L_2_FAST': L2Fast,
    'DDN': DDN,
    'FMN': FMN,
    'FGSM': FGSM,
    'IFGSM': IFGSM,
    'PGD': PGD,
    'LOSS_PGD': LossPGD,
    'AN_PGD': ANPGD,
    'APGD': APGD,
    'SQUARE': Square,
    'FAB': FAB,
    'AUTO_ATTACK': AutoAttack,
}
"""Names of attacks, for the flag ``attack_type``; the first four are the original's."""

AttackType = Enum('AttackType', list(ATTACKS))  # type: ignore[misc]
"""The same names, as the original's config files write them: AttackType.L_2."""

__all__ = [
    'ANPGD', 'APGD', 'ATTACKS', 'Attack', 'AttackResult', 'AttackType', 'AutoAttack',
    'CarliniL2', 'DDN', 'FAB', 'FGSM', 'FMN',
    'GradientDescentAttack', 'IFGSM', 'L2BIM', 'L2DeepFool', 'L2Fast', 'LinfPGDAttack', 'LossPGD', 'PGD', 'Square',
]
