"""The rules of the layout: which way imports run, and that config files are data."""

from __future__ import annotations

import ast
import runpy
from pathlib import Path

import pytest

from core.flags import archiver_of, merge, scheduler_of
from models import ARCHITECTURES
from models.objectives import objective_of

ROOT = Path(__file__).resolve().parents[1]
MODELS = ['types', '_tensorflow', 'checks', 'logits', 'lr_schedulers', 'archivers', 'losses', 'initializers',
          'margins', 'replicas', 'optimizers', 'augmentation', 'stored', 'base_model', 'chains', 'simple_sequential',
          'residual', 'spectral', 'certificate', 'homogeneity', 'kkt', 'keras_samples', 'keras_optimizers',
          'keras_fit', 'keras_callbacks']
# What the attacks have in common.
ATTACKS = ['quick_gradient', 'precision', 'doubts', 'ops', 'leads', 'balls', 'compiled', 'inputs', 'results', 'base',
           'descent', 'within_budgets', 'gradient_descent', 'minimum_norm']
OBJECTIVES = ['checks', 'labels', 'moments', 'passes', 'base', 'gradients', 'at_layers']  # what they have in common
CORE = ['errors', 'npz', 'interrupts', 'command_line', 'flags', 'devices', 'locks', 'workdir', 'provenance', 'datasets',
        'subsets', 'progress', 'histories', 'sweep_directory', 'sweep_results', 'labels', 'plotting', 'transfer_plots',
        'tables', 'plot_app', 'tensorboard', 'records', 'training', 'replay', 'batches', 'attacking', 'transfer',
        'theory', 'evaluation', 'earlier', 'building', 'core', 'app', 'grid', 'sweep', 'launch']
EXPERIMENTS = sorted((ROOT / 'experiments').glob('exper-*.py'))


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names] if node.module is None else [node.module]
            found |= {'.' * node.level + name for name in names}
    return found


@pytest.mark.parametrize('package, order', [('models', MODELS), ('core', CORE)])
def test_each_module_imports_only_from_those_before_it(package, order):
    files = {p.stem: p for p in (ROOT / package).glob('*.py') if p.stem != '__init__'}
    assert sorted(files) == sorted(order), 'a new module takes its place in the order'
    for i, name in enumerate(order):
        inner = {n[1:] for n in imports(files[name]) if n.startswith('.')}
        assert inner <= set(order[:i]), f'{package}/{name}.py'


def test_an_attack_imports_what_attacks_have_in_common_and_models_know_no_attack():
    files = {p.stem: p for p in (ROOT / 'models/attacks').glob('*.py') if p.stem != '__init__'}
    attacks = sorted(set(files) - set(ATTACKS))
    for i, name in enumerate(ATTACKS + attacks):
        inner = {n[1:] for n in imports(files[name]) if n.startswith('.') and not n.startswith('..')}
        others = {'l2_fast': {'fmn', 'ddn'}}.get(name, set())  # made of other attacks
        assert inner <= set(ATTACKS[:i]) | others, name
        assert {n for n in imports(files[name]) if n.startswith('..')} <= {
            '..', '..base_model', '..chains', '..checks', '..logits'}, name
    for path in (ROOT / 'models').glob('*.py'):
        assert not any('attacks' in n for n in imports(path)), path.name


def test_an_objective_imports_what_objectives_have_in_common_and_models_know_no_objective():
    files = {p.stem: p for p in (ROOT / 'models/objectives').glob('*.py') if p.stem != '__init__'}
    objectives = sorted(set(files) - set(OBJECTIVES))
    for i, name in enumerate(OBJECTIVES + objectives):
        inner = {n[1:] for n in imports(files[name]) if n.startswith('.') and not n.startswith('..')}
        others = {'released_large_margin': {'large_margin'}}.get(name, set())  # a variant of another
        assert inner <= set(OBJECTIVES[:i]) | others, name
        assert {n for n in imports(files[name]) if n.startswith('..')} <= {
            '..types', '..checks', '..losses', '..logits'}, name
    for path in [*(ROOT / 'models').glob('*.py'), *(ROOT / 'models/attacks').glob('*.py')]:
        assert not any('objectives' in n for n in imports(path)), path.name


def test_models_never_imports_core():
    for path in (ROOT / 'models').rglob('*.py'):
        assert not {n.split('.')[0] for n in imports(path)} & {'core'}, path.name


def test_only_the_working_directory_knows_its_file_names():
    for path in (ROOT / 'core').glob('*.py'):
        if path.stem != 'workdir':
            strings = {n.value for n in ast.walk(ast.parse(path.read_text()))
                       if isinstance(n, ast.Constant) and isinstance(n.value, str) and '\n' not in n.value}
            assert not strings & {'history.jsonl', 'flags.json', 'stdout', 'summary.json', 'parts', 'state.npz',
                                  'lock'}, path.name


def test_the_originals_experiments_are_all_there():
    names = {p.stem for p in EXPERIMENTS}
    for data, net in (('mnist', 'cnn'), ('cifar', 'vgg')):
        for variant in (f'{net}-loss-based-lr', f'{net}-const-lr-1', f'biased-{net}-loss-based-lr',
                        f'biased-{net}-const-lr-1', f'{net}-loss-based-lr-archive-less'):
            assert f'exper-final-{data}-{variant}' in names


@pytest.mark.parametrize('path', EXPERIMENTS, ids=lambda p: p.stem)
def test_an_experiment_is_a_flags_dictionary_that_builds(path):
    flags = merge(runpy.run_path(str(path))['FLAGS'])
    scheduler_of(flags['lr']), archiver_of(flags['archive'])
    shape = {'mnist': (28, 28, 1), 'cifar10': (32, 32, 3), 'digits': (8, 8, 1)}[flags['dataset']]
    model = ARCHITECTURES[flags['arch']]('m', shape, train_mode=flags['train_mode'], **flags['model'])
    assert model.num_labels == 10
    of_the_paper = path.stem.startswith(('exper-final', 'exper-quickstart'))
    assert model.is_homogeneous == (of_the_paper and 'biased' not in path.stem)
    if flags['objective'] != 'cross-entropy':
        objective_of(flags['objective']).layers(model.net)
    assert f'./run.sh {path.stem}' in path.read_text()
