"""Which epochs are kept, against scripted sequences of the original."""

from __future__ import annotations

import pytest
from conftest import reference_json

import models
from models import ConstEpochArchiver, LogLossArchiver, TwoPhaseConstEpochArchiver

REFERENCE = reference_json('archivers')


@pytest.mark.parametrize('name', REFERENCE)
def test_the_epochs_kept_are_the_originals(name):
    sequence = REFERENCE[name]
    archiver = getattr(models, sequence['construct']['class'])(*sequence['construct']['args'])
    kept = [eid for eid, loss, log_frame in sequence['calls']
            if archiver.should_archive({'eid': eid, 'log_frame': log_frame, 'stats': {'loss': loss}})]
    assert kept == sequence['archived']


def test_a_loss_of_zero_is_kept_once():
    archiver = LogLossArchiver(10)
    infos = [{'eid': e, 'log_frame': None, 'stats': {'loss': loss}} for e, loss in enumerate([1.0, 0.0, 0.0], start=1)]
    assert [archiver.should_archive(i) for i in infos] == [True, True, False]


def test_a_relative_loss_of_zero_does_not_end_archiving():
    archiver = LogLossArchiver(10)
    epochs = [(0.8, 0.5, 0.1), (0.0, 0.0, -900.0), (-900.0, 0.99, -900.01), (-900.01, 1e-5, -911.5)]
    infos = [{'eid': e, 'log_frame': log_frame, 'stats': {'loss': loss, 'log_loss': log_loss}}
             for e, (log_frame, loss, log_loss) in enumerate(epochs, start=1)]
    assert [archiver.should_archive(i) for i in infos] == [True, True, False, True]


@pytest.mark.parametrize('make', [lambda: ConstEpochArchiver(-1), lambda: ConstEpochArchiver(1.5),
                                  lambda: TwoPhaseConstEpochArchiver(0, 10), lambda: LogLossArchiver(1)])
def test_periods_and_bases_that_make_no_sense_are_refused(make):
    with pytest.raises(ValueError, match='must be a'):
        make()
