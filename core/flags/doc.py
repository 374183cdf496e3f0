"""docs/flags.md, from the flags themselves: python -m core.flags.doc > docs/flags.md"""

from __future__ import annotations

from enum import Enum
from typing import Any

from .table import FLAGS

GROUPS: dict[str, tuple[str, ...]] = {
    'Data': (
        'dataset', 'train_N', 'test_N', 'validation_N', 'train_fraction', 'label_noise'),
    'Network and objective': (
        'arch', 'model', 'objective', 'augment', 'ends', 'ends_eid'),
    'Training': (
        'lr', 'E', 'steps', 'B', 'train_mode', 'ascent', 'log_frame0', 'loss_ub', 'lr_lb', 'archive', 'monitors'),
    'What a run prints and writes': (
        'print', 'tensorboard', 'include_all_rt_loss_in_res'),
    'What is done': (
        'task', 'eid', 't', 'ensemble', 'options'),
    'Attacks': (
        'attack_type', 'attack_set', 'attack_N', 'attack', 'attack_B', 'norm', 'eps', 'attack_eps_list',
        'attack_K', 'attack_E', 'attack_normalize_output', 'attack_initial_const', 'attack_options', 'health',
        'source', 'source_eid'),
    'The same run again': (
        'seed', 'deterministic', 'init_weights', 'permutations', 'resume', 'like'),
    'Where': (
        'gpu', 'threads', 'data_dir', 'log', 'eval_log'),
}
"""Flags by what they are about."""

HEAD = """\
# Flags

Every key that `FLAGS` of a config file may have, and that `--set key=value` sets: repeatable, the value a Python
literal, a fraction such as `8/255`, or else a string, dotted keys reaching into dictionaries, as in `--set
model.act_type=relu2`. Defaults give way to the run that an evaluation is pointed at, that to the config file, and that
to the command line. An unknown flag, or
a value that a flag cannot have, is refused in one sentence.

`dataset` and `model` must be given, and `lr` for training; an evaluation takes the data, the network and the mode from
its run. [experiments.md](experiments.md) has layers, initial weights and data of your own in full,
[large-margin.md](large-margin.md) objectives and optimizers, [measure.md](measure.md) attacks.

This page is what `python -m core.flags.doc` prints.
"""


def page() -> str:
    """docs/flags.md: every flag with its default, what it expects and what it means, as Markdown."""
    lines = [HEAD]
    for heading, names in GROUPS.items():
        lines += [f'## {heading}', '', '| flag | default | expects | meaning |', '|---|---|---|---|']
        lines += [f'| `{name}` | {_default(FLAGS[name].default)} | {FLAGS[name].expects} | {FLAGS[name].meaning} |'
                  for name in names]
        lines.append('')
    return '\n'.join(lines)


def _default(value: Any) -> str:
    if value is None:
        return ''
    if isinstance(value, float):
        return f'`{value:.6g}`'
    return f'`{value.name if isinstance(value, Enum) else repr(value)}`'


if __name__ == '__main__':
    print(page(), end='')
