"""The result of AutoAttack in the layout of an entry of RobustBench's leaderboards (Croce et al., arXiv 2010.09670).

An entry there is model_info/<data set>/<threat model>/<name>.json. What no run knows (where it was published, and by
whom) is null, to be filled in by hand.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .plotting.attacked import size_in_words

BY_SQUARE = 0.002
"""The share of the images from which on what Square alone broke makes AutoAttack's authors doubt the rest."""
FILLED_BY_HAND = ('link', 'authors', 'venue')
"""Keys whose values are null."""


def entry(record: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, Any] | None:
    """An entry for the last epoch of an evaluation.

    Args:
        record: the run's flags.json.
        summary: the evaluation's summary.json.

    Returns:
        'link', 'name', 'authors', 'additional_data', 'number_forward_passes', 'dataset', 'venue', 'architecture',
        'eps', 'clean_acc', 'reported', 'autoattack_acc', 'footnote' and 'unreliable', of the types that they have
        there: accuracies are texts, in per cent with two digits. None of what the leaderboards do not hold: another
        attack than the standard version of AutoAttack, several budgets, or other images than test images.
    """
    settings, epochs = summary['settings'], summary['epochs']
    if settings['attack_type'] != 'AUTO_ATTACK' or settings['attack_set'] != 'test' or not epochs:
        return None
    eid = max(epochs, key=int)
    numbers, version = epochs[eid], settings['attack_options'].get('version', 'standard')
    if version != 'standard' or len(numbers['robust_accuracy']) != 1 or not numbers['images']:
        return None
    ((eps, robust),) = numbers['robust_accuracy'].items()
    flags = record['flags']
    members = record.get('ensemble', {}).get('members', ())
    return {
        'link': None, 'name': record.get('name'), 'authors': None,
        'additional_data': False,  # a run has its data set's own images, or some of them
        'number_forward_passes': max(1, len(members)),
        'dataset': _dataset(flags['dataset']), 'venue': None, 'architecture': _architecture(flags, len(members)),
        'eps': _size(float(eps)), 'clean_acc': _percent(numbers['accuracy']), 'reported': '',
        'autoattack_acc': _percent(robust),
        'footnote': f"{summary['norm']}, epoch {eid}, {numbers['images']} of {_images(record)} test images.",
        'unreliable': _unreliable(numbers),
    }


def _percent(share: float) -> str:
    return f'{100 * share:.2f}'


def _size(eps: float) -> str:
    """A budget as it is written there: '8/255', or '0.5'."""
    return size_in_words(eps, [eps]) if not math.isclose(255 * eps, 0) else '0'


def _dataset(name: str) -> str:
    return name.rsplit('/', 1)[-1]


def _architecture(flags: Mapping[str, Any], members: int) -> str:
    if members:
        return f'ensemble of {members}'
    widths = [f'{key} {value}' for key, value in (flags.get('model') or {}).items()
              if key in ('width', 'depth', 'widen', 'blocks') and isinstance(value, int)]
    return f"{flags['arch']}{' (' + ', '.join(widths) + ')' if widths else ''}"


def _images(record: Mapping[str, Any]) -> Any:
    return record.get('images', {}).get('test', 'its')


def _unreliable(numbers: Mapping[str, Any]) -> bool:
    """Whether images may be less robust than was found, a check fired, or Square alone broke a good part of them."""
    by_square = numbers.get('broken_by', {}).get('square', 0) / numbers['images']
    fired = any(check['fired'] for check in numbers.get('health', {}).values())
    return fired or bool(numbers['doubtful']['images']) or by_square > BY_SQUARE
