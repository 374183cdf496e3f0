"""Catastrophic overfitting: training by single steps makes a network that single steps do not fool, and several do.

Wong, Rice & Kolter (arXiv 2001.03994) saw it: within an epoch the accuracy under PGD falls to nearly nothing, while
that under FGSM, which is trained against, rises. It is called so here when, on the same images and within the same
budget,

- the accuracy under one step is more than ``GAP`` above that under PGD,
- that under PGD is less than ``SHARE`` of the best that it was before, and that was ``LEAST`` or more,
- and that under one step is not more than ``FALLEN`` below what it was then.

The third is not so of a network that training merely broke. What it was 'before' counts from when the budget grew last:
within a larger budget any network is less robust. A network that was never robust may have learnt to deceive from the
start: it is called so, too, where the accuracy under one step is more than ``CHASM`` above that under PGD. Then it
lasts until neither of the first two holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

GAP = 0.2
CHASM = 0.5
SHARE = 0.5
LEAST = 0.2
FALLEN = 0.1
ON, ONSET, BEST = 'catastrophic_overfitting', 'onset', 'best'


def judged(eps: float, pgd: float, fgsm: float, last: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the record of an epoch says of it.

    Args:
        eps: the budget of the epoch.
        pgd, fgsm: accuracies within it, from 0 to 1.
        last: the record of the time before, with what this gave then; None if there is none.

    Returns:
        'catastrophic_overfitting': whether it is; 'onset': whether it was not the time before; 'best': 'eps', 'pgd' and
        'fgsm' of the epoch that the next are compared with.
    """
    own = {'eps': eps, 'pgd': pgd, 'fgsm': fgsm}
    best = own if last is None else last.get(BEST, own)
    if eps > best['eps']:
        best = own
    was_on = last is not None and bool(last.get(ON, False))
    collapsed = best['pgd'] >= LEAST and pgd < SHARE * best['pgd']
    gap = fgsm - pgd
    if was_on:
        on = collapsed or gap > GAP
    else:
        on = (collapsed and gap > GAP and fgsm >= best['fgsm'] - FALLEN) or gap > CHASM
    if not on and pgd >= best['pgd']:
        best = own
    return {ON: on, ONSET: on and not was_on, BEST: best}


def alarm(eid: int, measured: Mapping[str, Any]) -> str | None:
    """The sentence of an epoch in which it set in; None of any other.

    Args:
        eid: the epoch.
        measured: what the monitors measured then.
    """
    for record in measured.values():
        if record.get(ONSET):
            part, best = part_of(record), record[BEST]['pgd']
            pgd = f"{100 * record[f'{part}_acc_current']:.1f} %"
            said = f'fell from {100 * best:.1f} % to {pgd}' if best >= LEAST else f'is {pgd}'
            return (f'epoch {eid}: catastrophic overfitting, within {record["eps_current"]:.4g}: the {part} accuracy '
                    f'under PGD {said}, while under a single step it is {100 * record[f"{part}_acc_fgsm"]:.1f} %; '
                    f"train by more steps ('adversarial'), by 'n-fgsm', or within a smaller budget")
    return None


def in_a_line(measured: Mapping[str, Any]) -> str:
    """The accuracies under PGD, on training images, too, for the line of an epoch; empty if they were not measured."""
    for record in measured.values():
        if 'eps_final' in record:
            budgets = {f'{record[f"eps_{when}"]:.4g}': when for when in ('final', 'current')}
            parts = [part for part in dict.fromkeys(('train', part_of(record))) if f'{part}_acc_final' in record]
            return ''.join(f' {part}_pgd({eps})={100 * record[f"{part}_acc_{when}"]:.2f}%'
                           for eps, when in reversed(budgets.items()) for part in parts)
    return ''


def part_of(record: Mapping[str, Any]) -> str:
    """'val' or 'test' (or 'train'): whose images a record is of."""
    return next(name.removesuffix('_acc_fgsm') for name in record if name.endswith('_acc_fgsm'))
