"""The table of flags: defaults, what values they may have, their traits."""

from __future__ import annotations

import math
from enum import Enum
from typing import Any

from models import ARCHITECTURES, AUGMENTATIONS, TrainMode
from models.attacks import ATTACKS, AttackType

from .flag import (
    Flag,
    count_or_all,
    described,
    epoch_or_last,
    epochs,
    instance,
    integer,
    list_of,
    listed,
    member,
    name_in,
    number,
    optional,
    path,
    source,
    switch,
)

TASKS = ['train', 'train_peek', 'attack', 'certify', 'kkt', 'transfer']
"""Names of tasks, for the flag ``task``; a registered one is added."""
EVALUATIONS = ['attack', 'certify', 'kkt', 'transfer']
"""Those that measure archived models."""

_registered_types: dict[str, Enum] = {}


def attack_type(value: Any) -> Enum:
    """A member of ``AttackType`` for the name of an attack, of a registered one too.

    Python has no way to add to an enumeration; but its classes may have members that the class does not list.
    """
    if not isinstance(value, str) or value in AttackType.__members__ or value not in ATTACKS:
        return member(AttackType)(value)
    if value not in _registered_types:
        _registered_types[value] = other = object.__new__(AttackType)
        other._name_ = other._value_ = value
    return _registered_types[value]


SWITCH: dict[str, Any] = {'check': switch, 'expected': 'True or False'}

FLAGS: dict[str, Flag] = {
    'task': Flag(
        'train', name_in(TASKS), lambda: listed(TASKS),
        'what is done: train, train on from archived epochs, or measure a run'),
    'dataset': Flag(
        None, path, "a data set's name, or the path of an .npz file",
        'a data set by name, or an .npz file', recorded=True),
    'train_N': Flag(
        'all', count_or_all, "'all', or a number of training images",
        'use the first so many training images', recorded=True),
    'test_N': Flag(
        'all', count_or_all, "'all', or a number of test images",
        'use the first so many test images', recorded=True),
    'train_fraction': Flag(
        1.0, number(0, strict=True, high=1), 'a number above 0 and at most 1',
        'of the training images, a random fraction of every class', recorded=True),
    'label_noise': Flag(
        0.0, number(0, high=1), 'a number from 0 to 1',
        'the share of training labels that are switched to another class', recorded=True),
    'arch': Flag(
        'simple_sequential', name_in(ARCHITECTURES), lambda: listed(ARCHITECTURES),
        "the network's architecture", recorded=True),
    'model': Flag(
        None, instance(dict), "a dictionary with the network's description",
        'what the architecture takes: layers, biases, initial weights, optimizer', recorded=True),
    'train_mode': Flag(
        TrainMode.NORMAL, member(TrainMode), listed(TrainMode.__members__),
        'USE_FRAME follows the loss below 1e-300', recorded=True),
    'log_frame0': Flag(
        math.log(math.log(10)), number(-700, high=700), 'a number from -700 to 700',
        'logarithm of the frame before the first epoch'),
    'objective': Flag(
        'cross-entropy', instance(str, dict, list, tuple),
        "an objective's name, a dictionary of its 'type' and arguments, or a list of such",
        'what training minimises'),
    'augment': Flag(
        None, optional(name_in(AUGMENTATIONS)), lambda: f"None, or {' or '.join(map(repr, AUGMENTATIONS))}",
        'how training changes images'),
    'lr': Flag(
        None, optional(described(number(0, strict=True))),
        "a float, or a tuple of a scheduler's name and its arguments (rates are finite and above 0)",
        'a constant learning rate, or a scheduler and its arguments; of an attack, the size of a step'),
    'archive': Flag(
        'idle', described(integer(0)), "an int of at least 0, an archiver's name, or a tuple of a name and arguments",
        'which models to keep; the last is always kept'),
    'E': Flag(
        100, integer(1), 'a number of epochs, at least 1',
        'epochs', may_change_on_resume=True),
    'B': Flag(
        128, integer(1), 'a number of images, at least 1',
        'images per batch'),
    'lr_lb': Flag(
        1e-50, number(0), 'a number of at least 0',
        'a rate below this ends the run', may_change_on_resume=True),
    'loss_ub': Flag(
        100.0, number(0, strict=True), 'a number above 0',
        'a batch loss above this, in units of the frame, fails an attempt'),
    'print': Flag(
        True, **SWITCH, meaning='whether to print every statistic of an epoch, or just its line',
        may_change_on_resume=True),
    'tensorboard': Flag(
        False, **SWITCH, meaning='whether to write summaries for TensorBoard', may_change_on_resume=True),
    'include_all_rt_loss_in_res': Flag(
        False, **SWITCH, meaning='whether res keeps the loss of every batch'),
    'eid': Flag(
        'last', epochs, "an epoch, a list of epochs, 'last' or 'all'",
        'which archived epochs to measure, or to train on from'),
    'attack_type': Flag(
        AttackType['L_2'], attack_type, lambda: listed(ATTACKS),
        'the attack'),
    'attack_set': Flag(
        'train', name_in(('train', 'test')), "'train' or 'test'",
        'which images to measure'),
    'attack_N': Flag(
        'all', count_or_all, "'all', or a number of images",
        'the first so many of them'),
    'attack': Flag(
        None, optional(list_of(integer(0))), 'a list of indices of images, each at least 0',
        'those with these indices'),
    'attack_B': Flag(
        64, integer(1), 'a number of images, at least 1',
        'images per batch of an evaluation'),
    'attack_eps_list': Flag(
        None, optional(list_of(number(0, strict=True))), 'a list of numbers above 0',
        'budgets; for attacks without, the grid of the summary'),
    'attack_K': Flag(
        None, optional(integer(1)), 'a number of steps, at least 1',
        'steps of the attack'),
    'attack_E': Flag(
        None, optional(integer(1)), 'a number of restarts, at least 1',
        'restarts or searches of the attack'),
    'attack_normalize_output': Flag(
        None, optional(switch), 'True or False',
        'whether an attack divides logits by the sum of their magnitudes'),
    'attack_initial_const': Flag(
        None, optional(number(0, strict=True)), 'a number above 0',
        'the first constant of Carlini and Wagner'),
    'attack_options': Flag(
        {}, instance(dict), "a dictionary of the attack's own arguments",
        "other arguments of the attack's class, by name"),
    'source': Flag(
        None, optional(source), "a run's working directory",
        'the run on whose network images are made; None for the network itself'),
    'source_eid': Flag(
        'last', epoch_or_last, "an epoch, or 'last'",
        'the epoch of the source'),
    'init_weights': Flag(
        None, optional(path), 'the path of an .npz file',
        'start from given weights'),
    'permutations': Flag(
        None, optional(path), 'the path of an .npz file',
        'take the images in given orders'),
    'seed': Flag(
        None, optional(integer(0, 2 ** 63 - 1)), 'a whole number from 0 to 2**63 - 1',
        'of weights, permutations and all other draws; a fresh one is drawn, and recorded, without it'),
    'deterministic': Flag(
        False, **SWITCH, meaning="whether to use TensorFlow's deterministic operations only"),
    'resume': Flag(
        None, optional(path), "a run's working directory",
        'go on with the run in this working directory', once=True, may_change_on_resume=True),
    'like': Flag(
        None, optional(path), "a run's working directory",
        'repeat the run in this working directory; in a config file also another config file, which this one changes',
        once=True, may_change_on_resume=True),
    'gpu': Flag(
        None, optional(instance(int, str, tuple, list)), "the index of a GPU, several as in '0,1', or 'cpu'",
        'the GPU to use, several of them, or the CPU', place=True),
    'threads': Flag(
        None, optional(integer(1, 1024)), 'a number of CPU threads, from 1 to 1024',
        'CPU threads an operation may use; small networks are faster with 1', place=True),
    'data_dir': Flag(
        None, optional(path), 'a directory',
        'where TensorFlow Datasets keeps its data', place=True),
    'log': Flag(
        None, optional(path), 'a directory',
        'the working directory of a run', place=True),
    'eval_log': Flag(
        None, optional(path), 'a directory',
        'where an evaluation writes', place=True),
}

RECORDED_FLAGS = tuple(name for name, flag in FLAGS.items() if flag.recorded)
"""Flags that an evaluation takes from the run it is pointed at."""
PLACES = tuple(name for name, flag in FLAGS.items() if flag.place)
"""Flags that say where something is, or runs."""
CHANGEABLE = tuple(name for name, flag in FLAGS.items() if flag.place or flag.may_change_on_resume)
"""Flags that a resumed run may have otherwise: none of them changes what an epoch computes."""
ONCE = tuple(name for name, flag in FLAGS.items() if flag.place or flag.once)
"""Flags that a run which is repeated or resumed does not hand on."""
