"""What flags there are, what values they may have, and how they are merged."""

from ..tasks import EVALUATIONS, TASKS
from .described import archiver_of, objective_from, require_ascent_of_both, scheduler_of
from .flag import Flag
from .merging import apply_setting, checked, in_python, merge, model_keys, parse_setting
from .table import CHANGEABLE, FLAGS, PLACES, RECORDED_FLAGS

__all__ = [
    'CHANGEABLE', 'EVALUATIONS', 'FLAGS', 'Flag', 'PLACES', 'RECORDED_FLAGS', 'TASKS', 'apply_setting', 'archiver_of',
    'checked', 'in_python', 'merge', 'model_keys', 'objective_from', 'parse_setting',
    'require_ascent_of_both', 'scheduler_of',
]
