"""The rules of the layout: which way imports run, and that config files are data."""

from __future__ import annotations

import ast
import runpy
from importlib import import_module
from pathlib import Path

import pytest

from core.flags import archiver_of, merge, scheduler_of
from core.flags.likes import resolved
from core.moved import MOVED
from models import Model, build_model
from models.objectives import objective_of

ROOT = Path(__file__).resolve().parents[1]
# Each imports only from those before it, and a package when all that its __init__ takes up comes before.
MODELS = ['types', '_tensorflow', 'in_graphs', 'checks', 'registry', 'logits', 'lr_schedulers', 'archivers', 'losses',
          'margin_losses', 'climbed_losses', 'margins', 'replicas', 'schedules', 'schedule_ends', 'torch_optimizers',
          'flavours', 'optimizers', 'augmentation', 'batch', 'chains', 'measures', 'measures.homogeneity', 'networks',
          'networks.initializers', 'networks.network', 'networks.orthogonal', 'networks.descriptions',
          'networks.simple_sequential', 'networks.residual', 'networks.by_width', 'networks.wide_residual',
          'networks.ensemble', 'networks.curve', 'networks.keras_network', 'stored', 'statistics', 'steps', 'model',
          'ascent', 'ascent.attempts', 'ascent.spheres', 'ascent.dual', 'ascent.model', 'architectures',
          'torch_weights', 'measures.spectral', 'measures.norm_margins', 'measures.certificate', 'certificates',
          'certificates.rounding', 'certificates.windows', 'certificates.rules', 'certificates.sliding',
          'certificates.linear', 'certificates.nonlinear', 'certificates.layers', 'certificates.graph',
          'certificates.balls', 'certificates.relaxation', 'certificates.slopes', 'certificates.local',
          'certificates.bounds', 'certificates.radii', 'certificates.certifier', 'certificates.methods',
          'measures.kkt', 'measures.samples', 'measures.lanczos', 'measures.curvature', 'measures.moving_statistics',
          'measures.hessian', 'measures.directions', 'measures.scanner', 'measures.scan', 'measures.likeness',
          'measures.matching', 'keras_samples', 'keras_optimizers', 'keras_fit', 'keras_callbacks', 'keras_objective']
# What the attacks have in common.
ATTACKS = ['quick_gradient', 'precision', 'doubts', 'ops', 'leads', 'balls', 'compiled', 'inputs', 'results', 'base',
           'descent', 'within_budgets', 'gradient_descent', 'minimum_norm', 'advertorch', 'step_starts', 'loss_pgd',
           'bisection', 'spheres', 'adaptive', 'sparse', 'squares', 'hyperplanes']
HEALTH = ['findings', 'evidence', 'outputs', 'gradients', 'gradient_free', 'budget_checks', 'step_checks', 'transfer',
          'planted']
OBJECTIVES = ['labels', 'moments', 'passes', 'base', 'gradients', 'at_layers', 'attacking']  # what they have in common
CORE = ['moved', 'errors', 'registry', 'interrupts', 'workdir.npz', 'workdir.locks', 'workdir.files', 'workdir.paths',
        'workdir.records', 'workdir.models', 'workdir.evaluations', 'workdir.workdir', 'workdir', 'devices',
        'datasets', 'subsets', 'provenance', 'tensorboard', 'tasks', 'flags.flag', 'flags.table', 'flags.merging',
        'flags.described', 'flags', 'flags.earlier', 'flags.likes', 'flags.doc', 'progress', 'sweeps',
        'sweeps.directory', 'plotting.histories', 'sweeps.results', 'plotting.drawing', 'plotting', 'plotting.labels',
        'plotting.transfer', 'plotting.tables', 'plotting.attacked', 'plotting.curves', 'plotting.seeds',
        'plotting.hessians', 'plotting.scans', 'plotting.sandwiches', 'robustbench', 'session', 'derived', 'imported',
        'trained',
        'tasks.records', 'tasks.overfitting', 'tasks.telling', 'tasks.epochs', 'tasks.replay', 'tasks.arguments',
        'tasks.begun', 'members', 'ensembles', 'curves', 'points', 'tasks.base', 'tasks.parts', 'tasks.health',
        'tasks.attack', 'tasks.union', 'tasks.ends', 'tasks.transfer', 'tasks.certify', 'tasks.sandwich',
        'tasks.generate', 'tasks.compare', 'tasks.kkt', 'tasks.curve', 'tasks.hessian', 'tasks.directions',
        'tasks.scan', 'tasks.perturb', 'tasks.monitors.base', 'tasks.monitors.kinds', 'tasks.monitors.norms',
        'tasks.monitors.pgd',
        'tasks.monitors', 'tasks.train', 'tasks.train_peek', 'core', 'cli', 'cli.command_line', 'cli.app',
        'cli.plot_app', 'cli.launch', 'sweeps.grid', 'sweeps.plan', 'sweeps.jobs', 'sweeps.clock', 'sweeps.hands',
        'sweeps.listing', 'sweeps.running', 'cli.sweep_app', 'sweeps.sweep']
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


def modules(package: str, without: tuple[str, ...] = ()) -> dict[str, Path]:
    """The files of a package, but for some packages in it, by dotted names within it."""
    found = {}
    for path in (ROOT / package).rglob('*.py'):
        *folders, stem = path.relative_to(ROOT / package).with_suffix('').parts
        if not (folders and folders[0] in without) and (folders or stem != '__init__'):
            found['.'.join(folders if stem == '__init__' else [*folders, stem])] = path
    return found


def inner_imports(package: str, name: str, path: Path) -> set[str]:
    """The modules of the package that one of its modules imports, by dotted names within it."""
    home = name.split('.') if path.stem == '__init__' else name.split('.')[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = [*home[:len(home) + 1 - node.level], *(node.module.split('.') if node.module else [])]
        names = ['.'.join([*base, alias.name]) for alias in node.names]
        is_module = [(ROOT / package / n.replace('.', '/')).with_suffix('.py').exists() for n in names]
        found |= {n if inside else '.'.join(base) for n, inside in zip(names, is_module)}
    return found - {''}


@pytest.mark.parametrize('package, order, without', [
    ('models', MODELS, ('attacks', 'objectives', 'health')), ('core', CORE, ())])
def test_each_module_imports_only_from_those_before_it(package, order, without):
    files = modules(package, without)
    assert sorted(files) == sorted(order), 'a new module takes its place in the order'
    for i, name in enumerate(order):
        assert inner_imports(package, name, files[name]) <= set(order[:i]), f'{package}/{name}'


def test_an_attack_imports_what_attacks_have_in_common_and_models_know_no_attack():
    """Some are made of others."""
    files = {p.stem: p for p in (ROOT / 'models/attacks').glob('*.py') if p.stem != '__init__'}
    attacks = sorted(set(files) - set(ATTACKS))
    for i, name in enumerate(ATTACKS + attacks):
        inner = {n[1:] for n in imports(files[name]) if n.startswith('.') and not n.startswith('..')}
        others = {'l2_fast': {'fmn', 'ddn'}, 'auto_attack': {'apgd', 'fab', 'square'}}.get(name, set())
        assert inner <= set(ATTACKS[:i]) | others, name
        assert {n for n in imports(files[name]) if n.startswith('..')} <= {
            '..', '..model', '..chains', '..checks', '..logits', '..margin_losses', '..climbed_losses', '..types',
            '..in_graphs'}, name
    for path in modules('models', ('attacks', 'objectives', 'health')).values():
        assert not any('attacks' in n for n in imports(path)), path.name


def test_a_check_of_an_evaluation_imports_attacks_and_no_other_check():
    files = {p.stem: p for p in (ROOT / 'models/health').glob('*.py') if p.stem != '__init__'}
    assert sorted(files) == sorted(HEALTH), 'a new module takes its place in the order'
    for name in HEALTH:
        inner = {n[1:] for n in imports(files[name]) if n.startswith('.') and not n.startswith('..')}
        assert inner <= set(HEALTH[:2]) and not any('objectives' in n for n in imports(files[name])), name


def test_an_objective_imports_what_objectives_have_in_common_and_models_know_no_objective():
    files = {p.stem: p for p in (ROOT / 'models/objectives').glob('*.py') if p.stem != '__init__'}
    objectives = sorted(set(files) - set(OBJECTIVES))
    for i, name in enumerate(OBJECTIVES + objectives):
        inner = {n[1:] for n in imports(files[name]) if n.startswith('.') and not n.startswith('..')}
        others = {'released_large_margin': {'large_margin'}, **dict.fromkeys(
            ('fgsm_rs', 'n_fgsm', 'free'), {'adversarial'})}.get(name, set())  # a variant of another
        assert inner <= set(OBJECTIVES[:i]) | others, name
        assert {n for n in imports(files[name]) if n.startswith('..')} <= {
            '..types', '..checks', '..chains', '..losses', '..margin_losses', '..logits', '..batch', '..schedules',
            '..attacks.an_pgd', '..attacks.balls', '..attacks.base', '..attacks.loss_pgd', '..certificates.bounds',
            '..networks.curve'}, name
    for path in modules('models', ('objectives',)).values():
        assert not any('objectives' in n for n in imports(path)), path.name


def test_modules_that_moved_are_found_under_their_earlier_names():
    earlier = {**MOVED, **{f'models.{name}': f'models.{home}' for name, home in (
        ('base_model', 'model'), ('simple_sequential', 'architectures'), ('kkt', 'measures.kkt'),
        ('residual', 'architectures'), ('initializers', 'networks.initializers'), ('spectral', 'measures.spectral'),
        ('certificate', 'measures.certificate'), ('homogeneity', 'measures.homogeneity'))}}
    for name, home in earlier.items():
        assert import_module(name) is import_module(home) and import_module(home).__spec__.name == home


def test_models_never_imports_core():
    for path in (ROOT / 'models').rglob('*.py'):
        assert not {n.split('.')[0] for n in imports(path)} & {'core'}, path.name


def test_only_the_working_directory_knows_its_file_names():
    for path in (ROOT / 'core').rglob('*.py'):
        if path.parent.name != 'workdir':
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


BUILT: dict[str, Model] = {}
"""Networks by what says how to build them; most experiments share one with others."""


@pytest.mark.long(after=1)
@pytest.mark.parametrize('path', EXPERIMENTS, ids=lambda p: p.stem)
def test_an_experiment_is_a_flags_dictionary_that_builds(path):
    flags = resolved(runpy.run_path(str(path))['FLAGS'], path.parent)
    if flags.get('arch') == 'curve':  # network and data are those of its ends
        flags['dataset'] = 'mnist' if 'mnist' in path.stem else 'digits'
        flags['model'] = {**flags['model'], 'of': {'arch': 'lenet', 'model': {'width': 1}}}
    flags = merge(flags)
    scheduler_of(flags['lr']), archiver_of(flags['archive'])
    shape = {'mnist': (28, 28, 1), 'cifar10': (32, 32, 3), 'digits': (8, 8, 1)}[flags['dataset']]
    network = flags['arch'], shape, flags['train_mode'], flags['model']
    if repr(network) not in BUILT:
        BUILT[repr(network)] = build_model(*network[:3], **network[3])
    model = BUILT[repr(network)]
    assert model.num_labels == 10
    of_the_paper = path.stem.startswith(('exper-final', 'exper-quickstart', 'exper-ascent'))
    assert model.is_homogeneous == (of_the_paper and 'biased' not in path.stem)
    if flags['objective'] != 'cross-entropy':
        objective_of(flags['objective']).layers(model.net)
    assert f'./run.sh {path.stem}' in path.read_text()
