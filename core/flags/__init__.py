"""What flags there are, what values they may have, and how they are merged."""

from .flags import (
    EVALUATIONS,
    FLAGS,
    PLACES,
    RECORDED_FLAGS,
    TASKS,
    Flag,
    apply_setting,
    archiver_of,
    checked,
    in_python,
    merge,
    model_keys,
    objective_from,
    parse_setting,
    scheduler_of,
)

__all__ = [
    'EVALUATIONS', 'FLAGS', 'Flag', 'PLACES', 'RECORDED_FLAGS', 'TASKS', 'apply_setting', 'archiver_of', 'checked',
    'in_python', 'merge', 'model_keys', 'objective_from', 'parse_setting', 'scheduler_of',
]
