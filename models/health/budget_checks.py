"""Checks of what is found within several budgets: more within larger ones, all within the box, no less than by a single
step."""

from __future__ import annotations

import numpy as np

from ..attacks.gradient_descent import GradientDescentAttack
from .evidence import FEW, Evidence, within
from .findings import Finding, many, skipped


def rises_with_eps(e: Evidence) -> tuple[Finding, Finding]:
    """Whether the attack, run within each of some budgets alone, finds fewer images within a larger one; and whether it
    leaves any where the budget is all of the box. (An evaluation never reports that accuracy rises, for what a smaller
    budget holds a larger does.)"""
    names = 'rises_with_eps', 'not_zero_unbounded'
    rows = np.flatnonzero(e.right)[:FEW]
    if not e.attack.has_budgets:
        return skipped(names[0], 'the attack has no budgets'), _unbounded(
            names[1], int((~e.result.success[rows]).sum()) if np.isinf(e.attack.most) else 0, len(rows))
    chosen = sorted({e.attack.eps_list[len(e.attack.eps_list) // 2], e.attack.eps_list[-1], e.box})
    left = {}
    for eps in chosen:
        result = within(e.attack, eps).attack(e.x[rows], e.y[rows], e.rng(names[0]))
        left[eps] = ~result.success
    rises = [int((left[b] & ~left[a]).sum() - (left[a] & ~left[b]).sum()) for a, b in zip(chosen, chosen[1:])]
    worst = max(rises, default=0)
    shares = {f'{eps:g}': float(found.mean()) if len(rows) else 0.0 for eps, found in left.items()}
    more = ', '.join(f'{100 * share:.0f} % within {eps}' for eps, share in shares.items())
    return (Finding(names[0], many(worst, len(rows)), {'images': max(worst, 0), 'of': len(rows), 'accuracy': shares},
                    f'of {len(rows)} images, {more} stand if each budget is tried alone: a larger budget holds all of '
                    "a smaller one, so the attack's steps do not suit it; make them smaller, or take APGD"),
            _unbounded(names[1], int(left[e.box].sum()), len(rows)))


def _unbounded(name: str, left: int, of: int) -> Finding:
    return Finding(name, many(left, of), {'images': left, 'of': of},
                   f'{left} of {of} images stand though the attack may go anywhere in the box, where any class can be '
                   'had: it is lost, not the network robust, so look for what hides the gradient')


def single_step_beats_many(e: Evidence) -> Finding:
    """How many images that stand a single step along the clean image's gradient breaks, within the budgets that they
    stand at; and, of an attack that tries such steps itself, how many more it breaks than descents alone do."""
    name, rows = 'single_step_beats_many', e.standing
    broken, of = _broken_by_one(e, rows, e.held[rows]), len(rows)
    if isinstance(e.attack, GradientDescentAttack) and e.attack.k > 1:
        rows = np.flatnonzero(e.right)[:FEW]
        eps = e.attack.eps_list[len(e.attack.eps_list) // 2]
        descents = within(e.attack, eps)
        vars(descents)['_single_steps'] = lambda x, y: None
        found = descents.attack(e.x[rows], e.y[rows], e.rng(name)).success
        more = _broken_by_one(e, rows, np.full(len(rows), eps)) & ~found
        broken, of = (more, len(rows)) if more.sum() >= broken.sum() else (broken, of)
    count = int(broken.sum())
    return Finding(name, many(count, of), {'images': count, 'of': of},
                   f'a single gradient step breaks {count} of {of} images that the steps of the attack do not: these '
                   'go astray, so make them smaller, or take APGD, which adapts them')


def _broken_by_one(e: Evidence, rows: np.ndarray, eps: np.ndarray) -> np.ndarray:
    """Whether steps of half the budgets [n] or all of them break images, bool [n]."""
    if not len(rows):
        return np.zeros(0, bool)
    direction, _ = e.attack._looked(e.x[rows], e.y[rows])
    return np.any([e.attack._stepped(e.x[rows], direction, e.y[rows], eps * part)[1] for part in (0.5, 1)], axis=0)
