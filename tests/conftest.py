"""Reference numbers of the original implementation (see reference/README.md), and small real data."""

from __future__ import annotations

import gc
import gzip
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from forked import Server, remember_protocols

if TYPE_CHECKING:  # what imports TensorFlow is imported where it is used: see pytest_configure
    from core.session import Session
    from core.tasks.attack import Attacking
    from models import Model
    from models.attacks import Attack

OWN = Path(__file__).parent / 'reference'
REFERENCE = Path(os.environ.get('MAX_MARGIN_REFERENCE') or OWN)
LARGE_MARGIN = Path(os.environ.get('LARGE_MARGIN_REFERENCE') or OWN / 'large-margin')
MMA = Path(os.environ.get('MMA_REFERENCE') or OWN / 'mma')
ADVERSARIAL = Path(os.environ.get('ADVERSARIAL_REFERENCE') or OWN / 'adversarial')


def reference_json(name: str, folder: Path = REFERENCE):
    """Reads NAME.json, or NAME.json.gz, of a reference."""
    path = folder / f'{name}.json'
    if path.exists():
        return json.loads(path.read_bytes())
    return json.loads(gzip.decompress((folder / f'{name}.json.gz').read_bytes()))


def reference_npz(name: str, folder: Path = REFERENCE) -> dict[str, np.ndarray]:
    """Reads NAME.npz of a reference."""
    with np.load(folder / f'{name}.npz', allow_pickle=False) as f:
        return {k: f[k] for k in f}


def pytest_configure(config: pytest.Config) -> None:
    """Takes the devices before a test module is imported, which may make a layer and so start TensorFlow. The process
    that hands out tests to others does without, unless coverage is measured, which begins in the others after this."""
    hands_out = config.getoption('dist', 'no') != 'no'
    if hands_out and not config.pluginmanager.has_plugin('_cov'):
        return
    is_quiet = 'TF_CPP_MIN_LOG_LEVEL' not in os.environ
    import models  # noqa: F401, I001  (imports TensorFlow quietly, before anything else does)
    import core.session
    import core.tasks.attack  # noqa: F401
    from core.devices import use_device
    from core.tasks import health
    if hands_out:
        if is_quiet:
            del os.environ['TF_CPP_MIN_LOG_LEVEL']  # which the others inherit, and would not be quiet by
        return
    health.IMAGES = 0  # what it costs, most of it to compile, is spent in tests/test_health.py
    use_device('cpu,cpu,cpu')  # tests of one device use the first of these parts
    gc.freeze()  # what libraries have made stays; looking through it again and again takes a tenth of the time
    gc.set_threshold(100_000, 10, 10)
    remember_protocols()


SHORT_TESTS_COVER = {
    *(f'test_{name}' for name in (
        'apgd', 'ascent', 'attacks_box', 'attacks_foolbox', 'attacks_networks', 'attacks_reference', 'by_width',
        'certificates', 'docs', 'doubts', 'ensemble', 'evaluation', 'fab', 'figures', 'health', 'hessian', 'judge',
        'keras_fit', 'keras_norms', 'keras_optimizers', 'kkt', 'large_margin', 'large_margin_reference', 'losses',
        'mma_evaluations', 'mma_reference', 'objectives_networks', 'optimizers', 'perturb', 'readme', 'refusals',
        'replay', 'residual', 'statistics', 'steps', 'sweep', 'training', 'trajectories', 'transfer', 'trust',
        'validation', 'wide_residual')),
    'test_along_a_trained_curve_the_loss_stays_orders_of_magnitude_below_the_straight_line_s',
    'test_any_image_of_the_box_keeps_the_contract',
    'test_batch_normalisation_sees_one_pass_in_training_mode_and_as_released_many',
    'test_every_margin_reaches_a_hinge_below_the_hard_margin_and_not_by_the_cross_entropy',
    'test_no_attack_finds_an_image_within_what_linear_relaxation_certifies',
    'test_on_a_linear_network_an_attack_finds_the_nearest_of_nine_boundaries',
    'test_the_example_runs_from_anywhere_and_draws',
    'test_the_example_runs_from_anywhere_and_mma_has_the_larger_margin'}
"""Files, and tests of other files, whose long tests run no lines that others, mostly short ones, do not: they are more
images, steps and networks."""
DEAREST = [f'test_{name}' for name in (
    'attacks', 'trajectories', 'sweep', 'health', 'perturb', 'certificates', 'devices', 'trust', 'sweep_hands',
    'evaluation', 'keras_users', 'attacks_networks', 'memory', 'command_line', 'attacks_reference', 'keras_objective',
    'keras_optimizers', 'mma', 'docs', 'resume', 'ascent', 'apgd', 'mma_reference', 'readme', 'replay')]
"""Files by what they cost, the dearest first: if one of them came last, one core would wait for it."""
_measured: set[tuple[str, str]] = set()
"""Files and test functions whose first case has run."""


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item):
    """Measures coverage in the first case of each test alone, and not in a long test where short ones suffice: it makes
    TensorFlow's tracing half as slow again, and a test's other cases go the same ways. Fixtures that cases share are
    made by the first."""
    coverage = sys.modules.get('coverage')
    measuring = coverage and coverage.Coverage.current()
    case = str(item.path), getattr(item, 'originalname', item.name)
    is_covered = item.get_closest_marker('long') and not SHORT_TESTS_COVER.isdisjoint((item.path.stem, case[1]))
    if not measuring or not (case in _measured or is_covered):
        _measured.add(case)
        return (yield)
    of_subprocesses = {name: os.environ.pop(name) for name in [*os.environ] if name.startswith('COVERAGE_')}
    measuring.stop()
    try:
        return (yield)
    finally:
        measuring.start()
        os.environ.update(of_subprocesses)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of tests marked long(after=n), the first n cases are not long. The dearest files come first."""
    seen: Counter[tuple[str, str]] = Counter()
    for item in items:
        long = [mark for mark in item.own_markers if mark.name == 'long']
        if long and all('after' in mark.kwargs for mark in long):
            test = str(item.path), item.originalname
            seen[test] += 1
            if seen[test] <= long[0].kwargs['after']:
                item.own_markers = [mark for mark in item.own_markers if mark.name != 'long']
    place = {stem: i for i, stem in enumerate(DEAREST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


@pytest.fixture(scope='session')
def digits():
    from core.datasets import get_dataset
    return get_dataset('digits')


@cache
def reference_images(data_file: str | None = None):
    """The images of a reference, scaled: those of a file that it names, or of its only one."""
    from core.datasets import get_dataset
    names = sorted(path.name for path in REFERENCE.glob('data_*.npz'))
    if data_file is None:
        data_file = 'data_mnist.npz' if 'data_mnist.npz' in names else names[0]
    return get_dataset(str(REFERENCE / data_file))


@pytest.fixture(scope='session')
def mnist_images():
    """The first 1,050 training and 200 test images of MNIST, scaled."""
    from core.datasets import get_dataset
    return get_dataset(str(OWN / 'data_mnist.npz'))


@pytest.fixture(autouse=True)
def in_tmp(tmp_path, monkeypatch):
    """Runs each test in a folder of its own, so that none writes into the checkout."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def operations_as_they_were():
    """Switches deterministic operations off again, which a run with that flag switches on for its whole process."""
    yield
    from tensorflow.python.framework import config
    config.disable_op_determinism()


@pytest.fixture(scope='session')
def server() -> Iterator[Server]:
    """Starts config files in processes of their own, without an import of TensorFlow for each."""
    server = Server()
    yield server
    server.close()


@pytest.fixture(scope='module')
def networks_are_shared() -> Iterator[None]:
    """Compiles a network once for all runs of a test module, which takes most of the time of a short one.

    Each run builds its own, as ever. What it then works with is the first of that kind, with all attributes as they
    were when that was built, and with the weights, and all else that training changes, of the run's own. An attack of
    it with the same arguments is the same one.
    """
    from core.session import Session
    from core.tasks.attack import Attacking
    kept: dict[str, tuple[Model, dict]] = {}
    attacks: dict[str, Attack] = {}
    original, make_attack = Session.build_model, Attacking.make

    def build_model(session: Session) -> None:
        original(session)
        own = session.model
        kind = repr((session.flags['arch'], session.flags['model'], session.flags['train_mode'], own.net.input_shape))
        if own.replicas.count > 1 or session.flags['objective'] != 'cross-entropy' or session.flags['augment']:
            return  # what is compiled would have the objective of another run in it
        session.model, attributes = kept.setdefault(kind, (own, dict(vars(own))))
        if session.model is not own:
            vars(session.model).clear()
            vars(session.model).update(attributes)
            session.model.restore_state(own.state())
            session.model.keep()

    def make(task: Attacking, model: Model) -> Attack:
        kind = repr((id(model), task.attack, task.arguments))
        if not any(model is own for own, _ in kept.values()):
            return make_attack(task, model)
        return attacks.get(kind) or attacks.setdefault(kind, make_attack(task, model))
    with pytest.MonkeyPatch.context() as m:
        m.setattr(Session, 'build_model', build_model)
        m.setattr(Attacking, 'make', make)
        yield


@contextmanager
def in_eager_mode() -> Iterator[None]:
    """Runs every operation at once: where there are few, this takes a fraction of the time of tracing them."""
    import tensorflow as tf
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


@pytest.fixture
def eagerly():
    with in_eager_mode():
        yield


@contextmanager
def attacks_in_eager_mode() -> Iterator[None]:
    """The same of attacks that are made here. It pays for some twenty steps on the smallest networks, not for more."""
    with pytest.MonkeyPatch.context() as m:
        m.setattr('models.attacks.compiled.graph_function',
                  lambda function, **_: SimpleNamespace(get_concrete_function=lambda: function))
        yield


@pytest.fixture
def attacks_eagerly():
    with attacks_in_eager_mode():
        yield
