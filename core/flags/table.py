"""The table of flags: defaults, what values they may have, their traits."""

from __future__ import annotations

import math
from enum import Enum
from typing import Any

from models import ARCHITECTURES, AUGMENTATIONS, TrainMode
from models.attacks import ATTACKS, AttackType
from models.attacks.balls import BALLS

from ..tasks import TASKS
from .flag import (
    Flag,
    count_or_all,
    count_or_switch,
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
    one_or_two,
    optional,
    part_of_set,
    path,
    paths,
    source,
    switch,
    switch_or_path,
    two_of,
)

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
        '`train_peek` trains on from archived epochs; `attack`, `certify`, `transfer` and `kkt` measure them; '
        '`generate` makes a data set of adversarial images, `compare` tells how alike runs are'),
    'dataset': Flag(
        None, path, "a data set's name, or the path of an .npz file",
        '`mnist`, `fashion_mnist`, `cifar10`, `digits`, or an .npz file of your own', recorded=True),
    'train_N': Flag(
        'all', count_or_all, "'all', or a number of training images",
        'use the first so many training images', recorded=True),
    'test_N': Flag(
        'all', count_or_all, "'all', or a number of test images",
        'use the first so many test images', recorded=True),
    'validation_N': Flag(
        0, part_of_set, "a number of images, the last ones of the training set, or ('first', how many) or ('last', "
        'how many)',
        'of the training images, so many are set apart, and measured after every epoch', recorded=True),
    'train_fraction': Flag(
        1.0, number(0, strict=True, high=1), 'a number above 0 and at most 1',
        'of those training images, a random fraction of every class; drawn from the seed, as are the switched labels',
        recorded=True),
    'label_noise': Flag(
        0.0, number(0, high=1), 'a number from 0 to 1',
        'the share of training labels that are switched to another class; `flags.json` says how many that was',
        recorded=True),
    'arch': Flag(
        'simple_sequential', name_in(ARCHITECTURES), lambda: listed(ARCHITECTURES),
        'the architecture: layers in a row, a residual network, a wide residual one as others have released, or one by '
        'its width; `ensemble` is several of these as one, `curve` the way from one to another', recorded=True),
    'model': Flag(
        None, instance(dict), "a dictionary with the network's description",
        'of `simple_sequential`: `description`, `bias_mode`, `init`, `act_type` (`relu`, `linear`, `relu2`, `maxmin`); '
        'of `residual`: `widths`, `repeats`, `batch_norm`, `num_labels`, `bias_mode`, `init`; of `wide_residual`: '
        '`depth`, `widen`, `num_labels`, `standardise`, `init`; of `ensemble`: `members`, a list of dictionaries of '
        '`arch` and `model`; of `curve`: `of`, one such dictionary, `bends`, `chain`, `start`, `t`; of all: '
        '`weight_decay`, `opt`, `schedule`, `clip_norm`',
        recorded=True),
    'train_mode': Flag(
        TrainMode.NORMAL, member(TrainMode), listed(TrainMode.__members__),
        '`USE_FRAME` follows the loss below 1e-300; `ASCENT` raises the normalised margin: [ascent.md](ascent.md)',
        recorded=True),
    'log_frame0': Flag(
        math.log(math.log(10)), number(-700, high=700), 'a number from -700 to 700',
        'natural logarithm of the frame before the first epoch, ln ln 10 by default; above it the loss-based rate '
        'accepts no first epoch'),
    'ascent': Flag(
        {}, instance(dict), "a dictionary of margin ascent's options",
        'of `train_mode=ASCENT`: `steps` of a round, `rounds` of an epoch, images of a `batch`, how many are `active` '
        'at least and within what `span`, the `sharpness`, its `growth`, the `sharpest`, the `epsilon` of Adam, the '
        '`dual_step` of a linear network, the loss `fitted` below which the warm-up ends, and the share of images that '
        'may still be `misfit`: [ascent.md](ascent.md)'),
    'objective': Flag(
        'cross-entropy', instance(str, dict, list, tuple),
        "an objective's name, a dictionary of its 'type' and arguments, or a list of such",
        "what training minimises: `'cross-entropy'`, `'large-margin'`, `'large-margin-released'`, `'mma'`, "
        "`'adversarial'`, `'fgsm-rs'`, `'n-fgsm'`, `'free'`, `'certified'`, `'curve'`, or a weighted sum of several"),
    'augment': Flag(
        None, optional(name_in(AUGMENTATIONS)), lambda: f"None, or {' or '.join(map(repr, AUGMENTATIONS))}",
        'how training changes images: `crop-flip` shifts and mirrors them'),
    'lr': Flag(
        None, optional(described(number(0, strict=True))),
        "a float, or a tuple of a scheduler's name and its arguments (rates are finite and above 0)",
        "a constant rate, or `('loss-based-v1', lr, alpha1, alpha2, eps)`, `('const-lr-and-loss-based-lr', lr, "
        "alpha1, alpha2, eps)`, `('aggressive', lr, cd)`, `('aggressive-v2', lr, cd)`, `('aggressive-v3', lr, "
        "alpha1, alpha2)`, `('ascent', lr, warm_up, alpha1, alpha2, patience)`; of an attack, the size of a step"),
    'archive': Flag(
        'idle', described(integer(0)), "an int of at least 0, an archiver's name, or a tuple of a name and arguments",
        "which models to keep: `'idle'` none, an int every so many epochs, `('logloss', base)` one whenever the loss"
        " passes a power of the base, `('two-phase-const-epoch', n1, n2)` every n1 epochs below n2 and every n2; the"
        ' last is always kept'),
    'monitors': Flag(
        [], instance(list, tuple), 'a list of monitors, each (name, every so many epochs), or (name, every, a '
        'dictionary of options)',
        'what else is measured while training', may_change_on_resume=True),
    'E': Flag(
        100, integer(1), 'a number of epochs, at least 1',
        'epochs', may_change_on_resume=True),
    'steps': Flag(
        None, optional(integer(1)), 'a number of steps, at least 1',
        'the length of training in place of `E`, which is then as many epochs as hold them: the last one is cut short'),
    'B': Flag(
        128, integer(1), 'a number of images, at least 1',
        'images per batch'),
    'lr_lb': Flag(
        1e-50, number(0), 'a number of at least 0',
        'a rate below which the run ends', may_change_on_resume=True),
    'loss_ub': Flag(
        100.0, number(0, strict=True), 'a number above 0',
        'a batch loss, in units of the frame, above which an attempt fails'),
    'print': Flag(
        True, **SWITCH, meaning='whether to print every statistic of an epoch, or just its line',
        may_change_on_resume=True),
    'tensorboard': Flag(
        False, **SWITCH, meaning="whether to write summaries for TensorBoard into the run's directory",
        may_change_on_resume=True),
    'include_all_rt_loss_in_res': Flag(
        False, **SWITCH, meaning='whether `res` keeps the loss of every batch'),
    'options': Flag(
        {}, instance(dict), "a dictionary of the task's own options",
        "what only this task has, by name"),
    'eid': Flag(
        'last', epochs, "an epoch, a list of epochs, 'last', 'best' or 'all'",
        "the archived epochs that are measured, or trained on from; 'best' is the last of a run that keeps no best"),
    't': Flag(
        None, optional(number(0, high=1)), 'a number from 0 to 1',
        'of a curve that is measured, the point: the network with the weights there has a directory of its own beside '
        "the curve's"),
    'ensemble': Flag(
        False, switch_or_path, 'True or False, or a directory',
        'whether several runs that are measured are one network, which predicts by their mean probability; its '
        'directory is beside them, or this one'),
    'attack_type': Flag(
        AttackType['L_2'], attack_type, lambda: listed(ATTACKS),
        "`L_2` is Carlini and Wagner's, `L_INF` the original's PGD; `FGSM` and `IFGSM` also make the images of "
        '`transfer`; `LOSS_PGD` and `AN_PGD` are those of MMA training; `APGD` is Auto-PGD'),
    'attack_set': Flag(
        'train', name_in(('train', 'validation', 'test')), "'train', 'validation' or 'test'",
        'the set whose images are measured'),
    'attack_N': Flag(
        'all', count_or_all, "'all', or a number of images",
        'the first so many of them'),
    'attack': Flag(
        None, optional(list_of(integer(0))), 'a list of indices of images, each at least 0',
        'those with these indices, in place of `attack_N`'),
    'attack_B': Flag(
        64, integer(1), 'a number of images, at least 1',
        'images per batch'),
    'norm': Flag(
        None, optional(name_in(BALLS)), lambda: listed(map(repr, BALLS)),
        "the norm of the attack, and of its budgets; the attack's own if not given; of `union`, of what is joined"),
    'eps': Flag(
        None, optional(number(0)), 'a number of at least 0, such as 8/255',
        'the budget, one alone: `attack_eps_list` with one entry; 0 is the accuracy on the images as they are'),
    'attack_eps_list': Flag(
        None, optional(list_of(number(0))), 'a list of numbers of at least 0',
        "budgets; the attack's own if not given; for attacks without, the grid of the summary"),
    'attack_K': Flag(
        None, optional(integer(1)), 'a number of steps, at least 1',
        "steps; the attack's own number if not given"),
    'attack_E': Flag(
        None, optional(integer(1)), 'a number of restarts, at least 1',
        "restarts or searches; the attack's own number if not given"),
    'attack_normalize_output': Flag(
        None, optional(switch), 'True or False',
        "of Carlini and Wagner's, and DeepFool: divide the logits by the sum of their magnitudes; they do not if not"
        ' given'),
    'attack_initial_const': Flag(
        None, optional(number(0, strict=True)), 'a number above 0',
        "of Carlini and Wagner's: the constant that its search begins with, 1e-3 if not given"),
    'attack_options': Flag(
        {}, instance(dict), "a dictionary of the attack's own arguments",
        "other arguments of the attack's class, by name"),
    'health': Flag(
        None, optional(count_or_switch), 'a number of images of at least 0, or True or False',
        'of an attack, on how many of the images it is looked at the end whether its numbers can be believed; 64 if '
        'not given, and 0 or False for none: [health.md](health.md)'),
    'source': Flag(
        None, optional(source), "a run's working directory",
        'the run on whose network images are made; the network itself if not given'),
    'source_eid': Flag(
        'last', epoch_or_last, "an epoch, 'last' or 'best'",
        'its epoch'),
    'ends': Flag(
        None, optional(two_of(path)), "a list of two runs' working directories",
        'of a curve, the runs that it joins; network and data are theirs'),
    'ends_eid': Flag(
        'last', one_or_two(epoch_or_last), "an epoch, 'last' or 'best', or a list of two of these",
        'their epochs'),
    'init_weights': Flag(
        None, optional(path), 'the path of an .npz file',
        'the weights to start from'),
    'permutations': Flag(
        None, optional(path), 'the path of an .npz file',
        'the order of the training set in every attempt'),
    'seed': Flag(
        None, optional(integer(0, 2 ** 63 - 1)), 'a whole number from 0 to 2**63 - 1',
        'of weights, permutations and all else that is drawn; if not given, a fresh one is drawn, and recorded'),
    'deterministic': Flag(
        False, **SWITCH, meaning="whether to use TensorFlow's deterministic operations only"),
    'resume': Flag(
        None, optional(path), "a run's working directory",
        'go on with the run in this directory; an option, `--resume`', once=True, may_change_on_resume=True),
    'like': Flag(
        None, optional(path), "a run's working directory",
        'repeat the run in this directory, its seed included; an option, `--like`',
        once=True, may_change_on_resume=True),
    'gpu': Flag(
        None, optional(instance(int, str, tuple, list)), "the index of a GPU, several as in '0,1', or 'cpu'",
        'an index that does not exist falls back to the CPU with a warning; if not given, GPU 0 if there is one, '
        'else the CPU', place=True),
    'threads': Flag(
        None, optional(integer(1, 1024)), 'a number of CPU threads, from 1 to 1024',
        'that an operation may use; small networks are faster with 1', place=True),
    'data_dir': Flag(
        None, optional(path), 'a directory',
        'where TensorFlow Datasets keeps its data; `TFDS_DATA_DIR`, or its own default, if not given', place=True),
    'log': Flag(
        None, optional(paths), 'a directory',
        'the working directory; a new `logs/<experiment>/<date>` if not given', place=True),
    'eval_log': Flag(
        None, optional(path), 'a directory',
        'where an evaluation writes; a new `<log>/<evaluation>/<date>` if not given', place=True),
}

RECORDED_FLAGS = tuple(name for name, flag in FLAGS.items() if flag.recorded)
"""Flags that an evaluation takes from the run it is pointed at."""
PLACES = tuple(name for name, flag in FLAGS.items() if flag.place)
"""Flags that say where something is, or runs."""
CHANGEABLE = tuple(name for name, flag in FLAGS.items() if flag.place or flag.may_change_on_resume)
"""Flags that a resumed run may have otherwise: none of them changes what an epoch computes."""
ONCE = tuple(name for name, flag in FLAGS.items() if flag.place or flag.once)
"""Flags that a run which is repeated or resumed does not hand on."""
