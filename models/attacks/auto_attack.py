"""AutoAttack: several attacks, each of the images that still stand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from .. import checks
from ..types import did_you_mean, shown
from .apgd import APGD
from .balls import Rng
from .base import Attack, Net
from .fab import FAB
from .results import Proposal
from .spheres import SPHERES
from .square import Square
from .within_budgets import budgets

L1_TARGETS = 5
"""Classes that APGD goes towards in L1; 9 in other norms."""


def _apgd(net: Net, norm: str, repeat: int, loss: str, eot_iter: int = 1) -> APGD:
    in_l1: dict[str, Any] = {'larger_first': True, 'target_classes': L1_TARGETS} if norm == 'L1' else {}
    return APGD(net, repeat=repeat, norm=norm, loss=loss, eot_iter=eot_iter, **in_l1)


PARTS: dict[str, Callable[..., Attack]] = {
    'apgd-ce': lambda net, norm, repeat, **eot: _apgd(net, norm, repeat, 'xent', **eot),
    'apgd-dlr': lambda net, norm, repeat, **eot: _apgd(net, norm, repeat, 'dlr', **eot),
    'apgd-t': lambda net, norm, repeat: _apgd(net, norm, 1, 'dlr-targeted'),
    'fab': lambda net, norm, repeat: FAB(net, repeat=repeat, norm=norm),
    'fab-t': lambda net, norm, repeat: FAB(net, repeat=1, norm=norm, target_classes=9),
    'square': lambda net, norm, repeat: Square(net, norm=norm),
}
"""The attacks that it can be made of, by the names of the authors; of a network, a norm, a number of restarts, and what
else a version has."""
RANDOM_PASSES = 20
"""Passes of APGD for networks that draw random numbers."""
L1_REPEAT = 5
"""Restarts of the standard version in L1: of APGD up the cross entropy alone, for the others have one."""
VERSIONS: dict[str, tuple[tuple[str, ...], int]] = {
    'standard': (('apgd-ce', 'apgd-t', 'fab-t', 'square'), 1),
    'plus': (('apgd-ce', 'apgd-dlr', 'fab', 'square', 'apgd-t', 'fab-t'), 5),
    'rand': (('apgd-ce', 'apgd-dlr'), 1),
}
"""Attacks, in order, and restarts, of each version."""
_CLASSES = {'apgd-dlr': 3, 'apgd-t': 4}
"""How many classes an attack needs; with fewer it is left out, or replaced by ``_INSTEAD``."""
_INSTEAD = {'apgd-t': 'apgd-dlr'}


class AutoAttack(Attack):
    """The smallest of given budgets within which any of several attacks finds a wrong class (Croce & Hein, arXiv
    2003.01690).

    An image that an attack breaks is left out of the next ones. Of a network of three classes the targeted DLR, which
    needs four, gives way to DLR, and with two both are left out.

    Args:
        model: ``Model``, or any built Keras model that maps images to logits.
        norm: 'Linf', 'L2' or 'L1'. In L1, as the authors have it, APGD begins in larger balls, goes towards five
            classes, and up the cross entropy it has five restarts.
        eps_list: the budget, or budgets, tried in ascending order; None for those that suit the norm.
        version: 'standard', APGD with the cross entropy, APGD towards nine classes, FAB towards nine classes, and
            Square; 'plus', all six attacks, of which APGD and FAB without targets have five restarts; 'rand', the two
            APGD alone, with gradients that are means over 20 passes, for networks that draw random numbers; or
            'custom'.
        attacks: names of ``PARTS``, in order, with 'custom' alone.
        repeat: restarts, with 'custom' alone.

    Raises:
        ValueError: an argument that is not such.

    Attributes:
        members: the attacks by name, in order. Of a result, ``by`` holds the index of the one that broke an image, and
            -1 of an image that none did, or that is misclassified.
    """

    has_budgets = True
    depends_on_scale = True  # APGD up the cross entropy does
    _proposes_what_was_judged = True  # its members do; of a network that draws random numbers one more pass would count

    def __init__(self, model: Net, norm: str = 'Linf', eps_list: float | Sequence[float] | None = None,
                 version: str = 'standard', attacks: Sequence[str] | None = None, repeat: int = 1):
        super().__init__(model, checks.one_of('norm', norm, SPHERES))
        given: Any = [eps_list] if isinstance(eps_list, Real) else eps_list
        self.eps_list = budgets(self.ball, given, self.image_size)
        names, restarts = self._named(version, attacks, checks.count('repeat', repeat))
        if norm == 'L1' and version == 'standard':
            restarts = L1_REPEAT
        more = {'eot_iter': RANDOM_PASSES} if version == 'rand' else {}
        self._named_members = names
        self._make: Callable[[str], Attack] = lambda name: PARTS[name](model, norm, restarts, **more)
        self.members: dict[str, Attack] = {}
        if outputs := getattr(self.net, 'outputs', None):  # else, of a subclassed model, when it is first called
            self._choose(outputs[0].shape[-1])

    def _choose(self, classes: int) -> None:
        """Makes those of the attacks that a network of so many classes can be attacked by."""
        for name in self._named_members:
            if classes < _CLASSES.get(name, 2):
                name = _INSTEAD.get(name, name)
            if classes >= _CLASSES.get(name, 2) and name not in self.members:
                self.members[name] = self._make(name)
        if not self.members:
            raise ValueError(f'none of {", ".join(self._named_members)} attacks a network of {classes} classes')

    @staticmethod
    def _named(version: str, attacks: Sequence[str] | None, repeat: int) -> tuple[Sequence[str], int]:
        if checks.one_of('version', version, (*VERSIONS, 'custom')) != 'custom':
            if attacks is not None or repeat != 1:
                raise ValueError(f"attacks and repeat go with version='custom', not with {version!r}")
            return VERSIONS[version]
        if isinstance(attacks, str) or not isinstance(attacks, Sequence) or not attacks:
            raise ValueError(f"version='custom' needs attacks, a list of names of {', '.join(PARTS)}, not "
                             f'{shown(attacks)}')
        for name in attacks:
            if name not in PARTS:
                raise ValueError(f'there is no attack {shown(name)}; {did_you_mean(name, PARTS)}')
        return attacks, repeat

    def _run(self, x, y, rng):
        if not self.members:
            self._choose(self.logits(x[:1]).shape[1])
        images, eps, by = np.zeros_like(x), np.full(len(x), np.inf), np.full(len(x), -1)
        # What an attack without budgets finds of an image serves them all.
        nearest = {i: _Nearest.none(x) for i, part in enumerate(self.members.values()) if not part.has_budgets}
        for budget in self.tried:
            for i, part in enumerate(self.members.values()):
                active = np.flatnonzero(np.isinf(eps))
                if not len(active):
                    break
                if part.has_budgets:
                    part.eps_list = [budget]
                    found, distances = self._found_by(part, x[active], y[active], rng)
                else:
                    known = nearest[i]
                    if len(new := active[~known.asked[active]]):
                        known.images[new], known.distances[new] = self._found_by(part, x[new], y[new], rng)
                        known.asked[new] = True
                    found, distances = known.images[active], known.distances[active]
                broken = distances <= budget + self.ball.rounding(budget, x[0].size)
                images[active[broken]], eps[active[broken]] = found[broken], budget
                by[active[broken]] = i
        return Proposal(images, np.isfinite(eps), eps, by=by)

    @staticmethod
    def _found_by(part: Attack, x: np.ndarray, y: np.ndarray, rng: Rng) -> tuple[np.ndarray, np.ndarray]:
        """What a member makes of images, and how far from them it is; inf where it is not adversarial."""
        images, success, _ = part._judged(x, y, np.zeros(len(x), bool), rng)
        return images, np.where(success, part.distance(images, x), np.inf)


class _Nearest(NamedTuple):
    """What an attack without budgets has found: images, distances, and of which images it was asked, [N] each."""

    images: np.ndarray
    distances: np.ndarray
    asked: np.ndarray

    @classmethod
    def none(cls, x: np.ndarray) -> _Nearest:
        return cls(np.zeros_like(x), np.full(len(x), np.inf), np.zeros(len(x), bool))
