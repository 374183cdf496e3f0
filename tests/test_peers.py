"""What others meet: runs' networks under Foolbox and PyTorch's AutoAttack, RobustBench's entries, table-pas."""

from __future__ import annotations

import csv
import io
import json
import runpy
import shutil
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import attacks_in_eager_mode, in_eager_mode
from runs import train

import core
from core import NotYet, UserError
from core.core import Core
from core.flags import merge
from core.flags.likes import resolved
from core.robustbench import entry
from core.tasks.arguments import attack_arguments
from core.trained import trained
from core.workdir import Workdir
from models import TrainMode
from models.attacks import APGD, AutoAttack, Square
from models.attacks.auto_attack import PARTS, VERSIONS

pytestmark = pytest.mark.long  # of a run each, whose making takes most of the time

ROOT = Path(__file__).resolve().parents[1]
EPS = 0.15
RUN = {'train_N': 200, 'test_N': 16, 'B': 50, 'E': 3, 'print': False, 'lr': 0.05, 'train_mode': TrainMode.NORMAL,
       'model': {'description': [['F', 10, {'act': False}]], 'init': {'weight': 'he_normal'}, 'opt': 'adam'}}
FEW = {'pgd': {'attack_K': 2, 'lr': 0.5}, 'apgd-dlr': {'attack_K': 2}, 'square': {'attack_K': 5}, 'autoattack': {}}
ENTRY = {  # model_info/cifar10/L2/Ding2020MMA.json, and the footnote that others have
    'link': 'https://openreview.net/forum?id=HkeryxBtPB', 'name': 'MMA Training', 'authors': 'Gavin Weiguang Ding',
    'additional_data': False, 'number_forward_passes': 1, 'dataset': 'cifar10', 'venue': 'ICLR 2020',
    'architecture': 'WideResNet-28-4', 'eps': '0.5', 'clean_acc': '88.02', 'reported': '66.18',
    'autoattack_acc': '66.09', 'footnote': 'It uses additional data.', 'unreliable': False}


def evaluation(name: str, **changes) -> dict:
    path = ROOT / f'evals/eval-pas-{name}.py'
    return {**resolved(runpy.run_path(str(path))['FLAGS'], path.parent), **changes}


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """Two seeds of one run, and the attacks of table-pas on them, of a few steps."""
    folder = tmp_path_factory.mktemp('runs')
    with in_eager_mode(), attacks_in_eager_mode(), pytest.MonkeyPatch.context() as patch:  # quicker than tracing
        patch.setitem(PARTS, 'apgd-ce', lambda net, norm, repeat: APGD(net, k=2, norm=norm))
        patch.setitem(PARTS, 'square', lambda net, norm, repeat: Square(net, k=5, norm=norm))
        patch.setitem(VERSIONS, 'standard', (('apgd-ce', 'square'), 1))
        for seed in (1, 2):
            log = str(folder / f'run-{seed}')
            train(**RUN, log=log, seed=seed)
            for name, few in FEW.items():
                if (name, seed) != ('square', 2):
                    flags = evaluation(name, log=log, gpu='cpu', seed=1, eps=EPS, **few)
                    Core({**flags, 'eval_log': f'{log}/eval-pas-{name}/1'}, name=f'eval-pas-{name}').run()
    return folder


def summary_of(runs: Path, seed: int, name: str) -> dict:
    (numbers,) = Workdir(runs / f'run-{seed}/eval-pas-{name}/1').read_summary()['epochs'].values()
    return numbers


def test_the_evaluations_of_the_table_attack_the_same_images_with_the_papers_settings():
    network = {'dataset': 'digits', 'model': {'description': [['F', 10, {'act': False}]]}}
    flags = {name: merge({**network, **evaluation(name)}) for name in (*FEW, 'apgd-ce')}
    assert {(f['attack_set'], f['attack_N'], f['eid'], f['norm'], f['eps']) for f in flags.values()} == {
        ('test', 'all', 'last', 'Linf', 0.4)}
    arguments = {name: attack_arguments(f) for name, f in flags.items()}
    assert arguments['pgd']['k'] * arguments['pgd']['a'] * 0.4 == pytest.approx(1) and arguments['pgd']['repeat'] == 1
    assert arguments['apgd-ce']['loss'] == 'xent' and arguments['apgd-dlr']['loss'] == 'dlr'
    assert arguments['square']['k'] == 5000 and arguments['autoattack']['version'] == 'standard'


def test_the_table_has_means_and_deviations_over_seeds_and_a_row_for_an_ensemble(runs):
    whole = Path(shutil.copytree(runs / 'run-1', 'whole'))
    record = json.loads((whole / 'flags.json').read_text())
    (whole / 'flags.json').write_text(json.dumps({**record, 'ensemble': {'members': [{}, {}, {}]}}))
    (whole / 'history.jsonl').unlink()
    table = core.draw('table-pas', runs / 'run-1', runs / 'run-2', whole)
    head, row, other = csv.reader(io.StringIO(table.text('csv')))
    assert head == ['training', 'clean', 'PGD', 'APGD-CE', 'APGD-DLR', 'Square', 'AutoAttack']
    for column, name in (('PGD', 'pgd'), ('APGD-DLR', 'apgd-dlr'), ('AutoAttack', 'autoattack')):
        shares = [summary_of(runs, seed, name)['robust_accuracy'][f'{EPS:g}'] for seed in (1, 2)]
        mean, _, deviation = row[head.index(column)].partition(' ± ')
        assert float(mean) == pytest.approx(np.mean(shares), rel=1e-5)
        assert float(deviation) == pytest.approx(abs(shares[0] - shares[1]) / 2 ** 0.5, rel=1e-4, abs=1e-9)
        assert float(other[head.index(column)]) == pytest.approx(shares[0])
    assert row[head.index('APGD-CE')] == '' and float(row[head.index('Square')]) == pytest.approx(
        summary_of(runs, 1, 'square')['robust_accuracy'][f'{EPS:g}'])
    assert other[0] == 'ensemble of 3, whole' and 'Square of 1 of them' in table.note and 'L∞ 0.15' in table.note
    for name in FEW:
        shutil.rmtree(whole / f'eval-pas-{name}')
    with pytest.raises(NotYet, match='whole has no evaluation .* eval-pas-pgd makes one'):
        core.draw('table-pas', whole)
    with pytest.raises(UserError, match='an ensemble has no history'):
        core.draw('figure-pas', whole)


def test_the_figure_has_a_line_a_seed_in_the_colour_of_its_schedule_and_pgd_dashed(runs):
    watched = Path(shutil.copytree(runs / 'run-1', 'watched'))
    record = json.loads((watched / 'flags.json').read_text())
    (watched / 'flags.json').write_text(json.dumps({**record, 'flags': {**record['flags'], 'B': 7}}))
    lines = [json.loads(line) for line in (watched / 'history.jsonl').read_text().splitlines()]
    for line in lines:
        line['monitors'] = {'pgd': {'test_acc_final': 0.5}}
    (watched / 'history.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
    resumed = Path(shutil.copytree(runs / 'run-2', 'resumed'))
    record = json.loads((resumed / 'flags.json').read_text())
    (resumed / 'flags.json').write_text(json.dumps({**record, 'flags': {**record['flags'], 'resume': 'logs/2'}}))
    accuracy, loss = core.draw('figure-pas', runs / 'run-1', resumed, watched).axes
    first, second, other = loss.lines
    assert first.get_color() == second.get_color() != other.get_color()
    robust = [line for line in accuracy.lines if len(line.get_xdata()) and line.get_linestyle() == '--']
    assert [(*line.get_ydata(),) for line in robust] == [(50.0,) * len(other.get_xdata())]
    history = [line for line in Workdir(runs / 'run-1').read_history() if line['cmd'] == 'go']
    assert [*first.get_ydata()] == [line['stats']['loss'] for line in history]


def test_autoattack_leaves_an_entry_of_the_keys_and_types_of_a_leaderboard(runs):
    place = runs / 'run-1/eval-pas-autoattack/1'
    made = json.loads((place / 'robustbench.json').read_text())
    numbers = summary_of(runs, 1, 'autoattack')
    assert set(made) == set(ENTRY)
    assert {k for k, v in made.items() if v is None} == {'link', 'authors', 'venue'}
    assert all(type(v) is type(ENTRY[k]) for k, v in made.items() if v is not None)
    assert made['clean_acc'] == f"{100 * numbers['accuracy']:.2f}" and made['eps'] == '0.15'
    assert made['autoattack_acc'] == f"{100 * numbers['robust_accuracy']['0.15']:.2f}" and made['dataset'] == 'digits'
    assert not (runs / 'run-1/eval-pas-pgd/1/robustbench.json').exists()
    record, summary = Workdir(runs / 'run-1').read_flags(), Workdir(place).read_summary()
    summary['epochs']['3']['robust_accuracy'] = {'0.0313725': 0.5}
    summary['epochs']['3']['broken_by']['square'] = 3
    of_255 = entry({**record, 'ensemble': {'members': [{}, {}]}}, summary)
    assert (of_255['eps'], of_255['unreliable'], of_255['number_forward_passes']) == ('8/255', True, 2)
    summary['settings']['attack_options']['version'] = 'rand'
    assert entry(record, summary) is None


def example(monkeypatch, name: str, *arguments) -> None:
    monkeypatch.setattr(sys, 'argv', [name, *map(str, arguments), '--gpu', 'cpu'])
    runpy.run_path(str(ROOT / f'examples/{name}.py'), run_name='__main__')


def test_foolbox_attacks_the_network_of_a_run(runs, eagerly, monkeypatch, capsys):
    example(monkeypatch, 'with-foolbox', runs / 'run-1', '--eps', EPS, '--attack', 'LinfFastGradientAttack')
    found = trained(runs / 'run-1', gpu='cpu')
    x, y = found.images, found.labels
    tape = tf.GradientTape()
    with tape:
        tape.watch(moved := tf.constant(x))
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(y, found.model.net(moved))
    moved = np.clip(x + EPS * np.sign(tape.gradient(loss, moved)), 0, 1)
    right = [100 * float((found.model.net(images).numpy().argmax(axis=1) == y).mean()) for images in (x, moved)]
    said = f'epoch 3, {len(y)} test images of digits: accuracy {right[0]:.2f} %, {right[1]:.2f} % under'
    assert said in capsys.readouterr().out
    with pytest.raises(SystemExit, match="Foolbox has no attack 'LinfPDG'; did you mean 'LinfPGD'"):
        example(monkeypatch, 'with-foolbox', runs / 'run-1', '--eps', EPS, '--attack', 'LinfPDG')


@pytest.mark.parametrize('missing, message', [('torch', "pip install torch, or the extra 'peers'"),
                                              ('autoattack', 'auto-attack')])
def test_without_what_it_needs_the_torch_example_says_how_to_get_it(missing, message, runs, monkeypatch):
    if missing == 'autoattack':
        pytest.importorskip('torch')
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SystemExit, match=f'error: .* is not installed.*{message}'):
        example(monkeypatch, 'with-autoattack-torch', runs / 'run-1', '--eps', EPS)


def test_pytorch_calls_a_keras_network_and_has_its_gradients(runs):
    torch = pytest.importorskip('torch')
    found = trained(runs / 'run-1', images=4, gpu='cpu')
    module = runpy.run_path(str(ROOT / 'examples/with-autoattack-torch.py'))['as_torch'](found.model.net)
    x = torch.tensor(found.images.transpose(0, 3, 1, 2).copy(), requires_grad=True)
    weights = np.arange(40, dtype=np.float32).reshape(4, 10)
    logits = module(x)
    (logits * torch.tensor(weights)).square().sum().backward()
    with tf.GradientTape() as tape:
        tape.watch(images := tf.constant(found.images))
        own = found.model.net(images)
        total = tf.reduce_sum(tf.square(own * weights))
    np.testing.assert_allclose(logits.detach().numpy(), own, rtol=1e-6)
    np.testing.assert_allclose(x.grad.numpy().transpose(0, 2, 3, 1), tape.gradient(total, images), rtol=1e-4)


def test_a_run_that_is_none_is_refused_in_a_sentence():
    with pytest.raises(UserError, match='nowhere'):
        trained('nowhere', gpu='cpu')


def test_autoattack_takes_a_keras_model_whose_softmax_was_taken_off(monkeypatch, eagerly, digits):
    monkeypatch.setitem(PARTS, 'apgd-ce', lambda net, norm, repeat: APGD(net, k=4, norm=norm))
    monkeypatch.setitem(VERSIONS, 'standard', (('apgd-ce',), 1))
    x, y = (a[:20] for a in digits.test)
    net = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10),
                            keras.layers.Softmax()])
    with pytest.raises(ValueError, match='logits'):
        AutoAttack(net, 'Linf', 0.1)
    net.pop()
    found = AutoAttack(net, 'Linf', 0.1).attack(x, y)
    assert found.success.any() and (found.distances[found.success] <= 0.1 + 1e-6).all()
    assert (net(found.images[found.success]).numpy().argmax(axis=1) != y[found.success]).all()
