"""Every scheduler's decisions, against scripted sequences of the original."""

from __future__ import annotations

import math

import numpy as np
import pytest
from conftest import reference_json

import models
from models import LR_SCHEDULERS, AggressiveLR, ConstLR, ConstLRAndLossBasedLR, LossBasedLRv1, NumericalFailure

REFERENCE = reference_json('lr_schedulers')


def build(sequence):
    scheduler = getattr(models, sequence['construct']['class'])(*sequence['construct']['args'],
                                                                **sequence['construct']['kwargs'])
    if sequence['use_frame']:
        scheduler.use_frame(sequence['log_frame_0'])
    return scheduler


def as_floats(stats):
    return None if stats is None else {k: float(v) for k, v in stats.items()}


@pytest.mark.parametrize('name', REFERENCE)
def test_decisions_and_rates_are_the_originals(name):
    sequence = REFERENCE[name]
    scheduler = build(sequence)
    assert scheduler.get() == ('go', pytest.approx(sequence['first']['lr'], rel=1e-12))
    for call in sequence['calls']:
        stats = as_floats(call['stats'])
        info = {'eid': call['eid'], 'log_frame': call['log_frame'], 'stats': stats}
        if 'raises' in call:  # the original ended in an assertion or a type error
            with pytest.raises(NumericalFailure):
                scheduler.get(info)
            return
        if stats is not None and math.isnan(stats['loss']) and call['cmd'] == 'go':
            # the original's aggressive schedulers accept nan, and after it everything; here nan is never accepted
            assert scheduler.get(info).cmd == 'back'
            return
        cmd, lr = scheduler.get(info)
        assert cmd == call['cmd']
        np.testing.assert_allclose(lr, call['lr'], rtol=1e-12)


@pytest.mark.parametrize('name', sorted(set(LR_SCHEDULERS) - {'const'}))
def test_nan_is_never_accepted(name):
    scheduler = LR_SCHEDULERS[name](0.1)
    if hasattr(scheduler, 'use_frame'):
        scheduler.use_frame(0.0)
    scheduler.get()
    info = {'eid': 1, 'log_frame': 0.0, 'stats': {'loss': math.nan, 'acc': 1.0}}
    if name in ('const-lr-and-loss-based-lr', 'ascent'):
        with pytest.raises(NumericalFailure):
            scheduler.get(info)
    else:
        assert scheduler.get(info).cmd == 'back'


def test_a_constant_rate_that_diverges_says_to_choose_a_smaller_one():
    scheduler = ConstLR(0.5)
    scheduler.get()
    with pytest.raises(NumericalFailure, match='constant learning rate 0.5; choose a smaller lr'):
        scheduler.get({'eid': 1, 'log_frame': None, 'stats': None})


@pytest.mark.parametrize('make', [
    lambda: ConstLR(-1.0), lambda: ConstLR(math.nan), lambda: ConstLR('0.1'), lambda: LossBasedLRv1(0.0),
    lambda: LossBasedLRv1(0.1, alpha1=0.5), lambda: LossBasedLRv1(0.1, alpha2=1.0), lambda: LossBasedLRv1(0.1, eps=-1),
    lambda: AggressiveLR(0.1, cd=0), lambda: ConstLRAndLossBasedLR(0.1, alpha2=math.inf)])
def test_rates_and_factors_that_make_no_sense_are_refused(make):
    with pytest.raises(ValueError, match='must be a finite number'):
        make()
