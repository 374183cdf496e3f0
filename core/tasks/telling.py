"""What a run of training says: line for line what the original said, or, with ``print=False``, what is needed."""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from models import EpochInfo

from .. import progress
from ..workdir import Workdir
from .overfitting import alarm, in_a_line

EVERY = 1.0
"""Seconds from one line of an accepted epoch to the next, at least."""
MANY = 2000
"""Images that the command to measure a run leaves as they are; of more it takes the first ``FEW``."""
FEW = 1000
SMALLEST = math.log(1e-300)
"""Natural logarithm of what is still safely a float."""


class Original:
    """What the original prints: every attempt, with all its statistics."""

    @contextmanager
    def following(self, epochs: int) -> Iterator[None]:
        """Meanwhile the epochs are trained, of which the run is to have this many."""
        yield

    def attempt(self, info: EpochInfo, failure: str | None) -> None:
        """An attempt at an epoch has ended; a failure is one without statistics."""
        if failure is None:
            progress.print_epoch(info)
        else:
            progress.print_failure(info, failure)

    def rejected(self) -> None:
        """The attempt is taken back."""
        progress.say('rolling back...done')

    def accepted(self, info: EpochInfo) -> None:
        """The attempt is kept; what the original has no statistic for is a line of its own."""
        if robust := in_a_line(info.get('monitors', {})):
            progress.say(f"epoch #{info['eid']}:{robust}")

    def alarms(self, info: EpochInfo) -> None:
        """What the monitors saw that a person should know at once, after the epoch was accepted."""
        if (sentence := alarm(info['eid'], info.get('monitors', {}))) is not None:
            progress.say(sentence)

    def written(self, path: Path, how: str) -> None:
        """A model was archived, or res updated."""
        progress.say(f'{path} {how}')

    def ended(self, workdir: Workdir, info: EpochInfo, attempts: int, dataset: str, images: int,
              is_curve: bool = False) -> None:
        """The run has all of its epochs.

        Args:
            workdir: where it is.
            info: its last epoch.
            attempts: how many the epochs took.
            dataset: its name.
            images: how many there are to train on.
            is_curve: whether the network is a curve between two others.
        """


class Brief(Original):
    """A line of an accepted epoch every second at most, of the first and the last in any case, below which a bar on a
    terminal shows how far the run is; nothing of attempts that are rejected; at the end five lines."""

    def __init__(self) -> None:
        self._last = -math.inf
        self._attempts = 0
        self._waiting: EpochInfo | None = None
        self._bar: Any = None

    @contextmanager
    def following(self, epochs: int) -> Iterator[None]:
        with progress.run_bar(epochs) as self._bar:
            try:
                yield
            finally:  # however the run ends, its last epoch is told
                if self._waiting is not None:
                    self._tell(self._waiting)

    def attempt(self, info: EpochInfo, failure: str | None) -> None:
        self._attempts += 1

    def rejected(self) -> None:
        pass

    def accepted(self, info: EpochInfo) -> None:
        if self._bar is not None:
            progress.move(self._bar, info['eid'], f'{self._attempts} attempts')
        if time.monotonic() - self._last >= EVERY:
            self._tell(info)
        else:
            self._waiting = info

    def alarms(self, info: EpochInfo) -> None:
        if alarm(info['eid'], info.get('monitors', {})) is not None and self._waiting is not None:
            self._tell(self._waiting)
        super().alarms(info)

    def _tell(self, info: EpochInfo) -> None:
        stats = info['stats']
        loss = '' if at_norm_1(stats) else f'loss={scientific(log_loss(info))} '
        progress.say(f"epoch #{info['eid']}: {loss}acc={100 * stats['acc']:.2f}% "
                     f"test_acc={100 * stats['test_acc']:.2f}% margin={margin(stats)[1]:.3e}"
                     f"{in_a_line(info.get('monitors', {}))}")
        self._last, self._waiting = time.monotonic(), None

    def written(self, path: Path, how: str) -> None:
        pass

    def ended(self, workdir: Workdir, info: EpochInfo, attempts: int, dataset: str, images: int,
              is_curve: bool = False) -> None:
        stats, (name, value) = info['stats'], margin(info['stats'])
        special = 'curve' if is_curve else 'ascent' if 'sharpness' in stats else ''
        progress.say('\n'.join([
            f'{workdir.path}',
            f"{info['eid']} epochs, {attempts} attempts; accuracy {100 * stats['acc']:.2f} %, on the test set "
            f"{100 * stats['test_acc']:.2f} %",
            f'{name} {value:.3e}, at layers of norm 1' if at_norm_1(stats) else
            f'loss {scientific(log_loss(info))}, {name} {value:.3e}',
            *commands(workdir.path, dataset, images, special)]))


def teller(block: bool) -> Original:
    """What speaks for a run with ``print=True``, or without."""
    return Original() if block else Brief()


def log_loss(info: EpochInfo) -> float:
    """Natural logarithm of the real training loss of an epoch."""
    loss = info['stats']['loss']
    # Where the loss is not 0 it is that of the objective, and 'log_loss' always that of the cross entropy.
    return math.log(loss) + (info['log_frame'] or 0.0) if loss > 0 else info['stats']['log_loss']


def scientific(log: float) -> str:
    """A number, of which this is the natural logarithm, as 1.234e-880, however small it is."""
    if not math.isfinite(log) or log > SMALLEST:
        return f'{math.exp(log):.3e}'
    exponent = math.floor(log / math.log(10))
    mantissa = f'{10 ** (log / math.log(10) - exponent):.3f}'
    return f'1.000e{exponent + 1}' if mantissa == '10.000' else f'{mantissa}e{exponent}'


def margin(stats: Mapping[str, float]) -> tuple[str, float]:
    """The margin over the product of the layers' norms, as in the paper's figures, and what to call it; the margin as
    it is of a network whose norms are 0, or overflow."""
    normalised = float(stats['q_bar2_min'])
    return ('normalised margin', normalised) if math.isfinite(normalised) else ('margin', float(stats['q_min']))


def at_norm_1(stats: Mapping[str, float]) -> bool:
    """Whether these are statistics of margin ascent after its warm-up, at layers of norm 1, where a loss says nothing.
    """
    return 'fitted' in stats and all(abs(rho - 1) < 1e-3 for name, rho in stats.items() if name.startswith('rho_'))


def commands(path: Path, dataset: str, images: int, special: str = '') -> list[str]:
    """The commands that draw a run and that measure the distances which the figure then shows, too.

    Args:
        path: the run's directory.
        dataset: the name of its data set.
        images: how many there are to train on.
        special: 'curve' for a network that is one, which is measured along all of it; 'ascent' for margin ascent, whose
            loss is not drawn.
    """
    log = shlex.quote(str(path))
    if special == 'curve':
        return [f'./eval.sh eval-curve {log}', f'./plot.sh figure-curve {log}']
    measure, last = ('eval-final-mnist-l2-fast', ' --set eid=last') if dataset == 'mnist' else (
        'eval-quickstart-digits', '')
    few = f' --set attack_N={FEW}' if images > MANY else ''
    figure = 'figure-time-to-margin' if special == 'ascent' else 'figure-quickstart'
    return [f'./plot.sh {figure} {log}', f'./eval.sh {measure} {log}{last}{few}']

