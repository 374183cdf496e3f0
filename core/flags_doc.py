"""docs/flags.md, from the flags themselves: python -m core.flags_doc > docs/flags.md"""

from __future__ import annotations

from enum import Enum
from typing import Any

from .flags import FLAGS

MEANINGS: dict[str, dict[str, str]] = {
    'Data': {
        'dataset': '`mnist`, `fashion_mnist`, `cifar10`, `digits`, or an .npz file of your own',
        'train_N': 'use the first so many training images',
        'test_N': 'use the first so many test images',
        'train_fraction': 'of those training images, a random fraction of every class; drawn from the seed, as are the '
                          'switched labels',
        'label_noise': 'the share of training labels that are switched to another class; `flags.json` says how many '
                       'that was',
    },
    'Network and objective': {
        'arch': 'the architecture: layers in a row, or a residual network',
        'model': 'of `simple_sequential`: `description`, `bias_mode`, `init`, `act_type` (`relu`, `linear`, `relu2`); '
                 'of `residual`: `widths`, `repeats`, `batch_norm`, `num_labels`, `bias_mode`, `init`; of both: '
                 '`weight_decay`, `opt`, `schedule`, `clip_norm`',
        'objective': "what training minimises: `'cross-entropy'`, `'large-margin'`, `'large-margin-released'`, or a "
                     'weighted sum of several',
        'augment': 'how training changes images: `crop-flip` shifts and mirrors them',
    },
    'Training': {
        'lr': "a constant rate, or `('loss-based-v1', lr, alpha1, alpha2, eps)`, `('const-lr-and-loss-based-lr', lr, "
              "alpha1, alpha2, eps)`, `('aggressive', lr, cd)`, `('aggressive-v2', lr, cd)`, `('aggressive-v3', lr, "
              "alpha1, alpha2)`; of an attack, the size of a step",
        'E': 'epochs',
        'B': 'images per batch',
        'train_mode': '`USE_FRAME` follows the loss below 1e-300',
        'log_frame0': 'natural logarithm of the frame before the first epoch, ln ln 10 by default; above it the '
                      'loss-based rate accepts no first epoch',
        'loss_ub': 'a batch loss, in units of the frame, above which an attempt fails',
        'lr_lb': 'a rate below which the run ends',
        'archive': "which models to keep: `'idle'` none, an int every so many epochs, `('logloss', base)` one whenever "
                   "the loss passes a power of the base, `('two-phase-const-epoch', n1, n2)` every n1 epochs below n2 "
                   'and every n2; the last is always kept',
    },
    'What a run prints and writes': {
        'print': 'whether to print every statistic of an epoch, or just its line',
        'tensorboard': "whether to write summaries for TensorBoard into the run's directory",
        'include_all_rt_loss_in_res': 'whether `res` keeps the loss of every batch',
    },
    'What is done': {
        'task': '`train_peek` trains on from archived epochs; `attack`, `certify`, `transfer` and `kkt` measure them',
        'eid': 'the archived epochs that are measured, or trained on from',
    },
    'Attacks': {
        'attack_type': '`L_2` is Carlini and Wagner\'s, `L_INF` the original\'s PGD; `FGSM` and `IFGSM` also make the '
                       'images of `transfer`',
        'attack_set': 'the set whose images are measured',
        'attack_N': 'the first so many of them',
        'attack': 'those with these indices, in place of `attack_N`',
        'attack_B': 'images per batch',
        'attack_eps_list': "budgets; the attack's own if not given; for attacks without, the grid of the summary",
        'attack_K': "steps; the attack's own number if not given",
        'attack_E': "restarts or searches; the attack's own number if not given",
        'attack_normalize_output': "of Carlini and Wagner's, and DeepFool: divide the logits by the sum of their "
                                   'magnitudes; they do not if not given',
        'attack_initial_const': "of Carlini and Wagner's: the constant that its search begins with, 1e-3 if not given",
        'attack_options': "other arguments of the attack's class, by name",
        'source': 'the run on whose network images are made; the network itself if not given',
        'source_eid': 'its epoch',
    },
    'The same run again': {
        'seed': 'of weights, permutations and all else that is drawn; if not given, a fresh one is drawn, and recorded',
        'deterministic': "whether to use TensorFlow's deterministic operations only",
        'init_weights': 'the weights to start from',
        'permutations': 'the order of the training set in every attempt',
        'resume': 'go on with the run in this directory; an option, `--resume`',
        'like': 'repeat the run in this directory, its seed included; an option, `--like`',
    },
    'Where': {
        'gpu': 'an index that does not exist falls back to the CPU with a warning; if not given, GPU 0 if there is '
               'one, else the CPU',
        'threads': 'that an operation may use; small networks are faster with 1',
        'data_dir': 'where TensorFlow Datasets keeps its data; `TFDS_DATA_DIR`, or its own default, if not given',
        'log': 'the working directory; a new `logs/<experiment>/<date>` if not given',
        'eval_log': 'where an evaluation writes; a new `<log>/<evaluation>/<date>` if not given',
    },
}
"""Heading -> flag -> what it means, in words, as in the page."""

HEAD = """\
# Flags

Every key that `FLAGS` of a config file may have, and that `--set key=value` sets: repeatable, the value a Python
literal or else a string, dotted keys reaching into dictionaries, as in `--set model.act_type=relu2`. Defaults give way
to the run that an evaluation is pointed at, that to the config file, and that to the command line. An unknown flag, or
a value that a flag cannot have, is refused in one sentence.

`dataset` and `model` must be given, and `lr` for training; an evaluation takes the data, the network and the mode from
its run. [experiments.md](experiments.md) has layers, initial weights and data of your own in full,
[large-margin.md](large-margin.md) objectives and optimizers, [measure.md](measure.md) attacks.

This page is what `python -m core.flags_doc` prints.
"""


def page() -> str:
    """docs/flags.md: every flag with its default, what it expects and what it means, as Markdown."""
    lines = [HEAD]
    for heading, meanings in MEANINGS.items():
        lines += [f'## {heading}', '', '| flag | default | expects | meaning |', '|---|---|---|---|']
        lines += [f'| `{name}` | {_default(FLAGS[name].default)} | {FLAGS[name].expects} | {meaning} |'
                  for name, meaning in meanings.items()]
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
