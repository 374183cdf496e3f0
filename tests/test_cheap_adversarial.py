"""FGSM with random starts, N-FGSM and Free: what their papers say, on a linear network in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from core.devices import use_device
from models import BiasMode, Model, SimpleSequential, TrainMode
from models.batch import Batch
from models.keras_objective import ObjectiveModel
from models.objectives import FGSMRS, NFGSM, CrossEntropy, Free, Weighted, objective_of

N, B, M, EPS, LR = 12, 4, 3, 0.2, 0.5


def linear(weights) -> Model:
    model = SimpleSequential('m', (2, 2, 1), [['F', 3, {'act': False}]], train_mode=TrainMode.NORMAL,
                             bias_mode=BiasMode.NONE)
    model.set_weights({name: weights for name in model.weights()})
    return model


@pytest.fixture(scope='module')
def data():
    """Weights, images with pixels at the walls of the box, labels, and an order of the images."""
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(N, 2, 2, 1)).astype(np.float32)
    x[:, 0, 0], x[::2, 1, 1] = 0, 1
    return rng.normal(size=(4, 3)).astype(np.float32), x, rng.integers(0, 3, N), rng.permutation(N)


def slope(weights, x, y):
    """Of the cross entropies, with respect to logits [n, 3], and the entropies."""
    z = x.reshape(len(x), 4) @ weights
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return p - np.eye(3)[y], -np.log(p[np.arange(len(y)), y])


@pytest.mark.parametrize('objective, noise, step, most', [(FGSMRS(EPS), 1, 1.25, 1), (NFGSM(EPS), 2, 1.0, np.inf)])
def test_a_single_step_starts_from_noise_and_is_projected_or_not_as_the_papers_say(
        objective, noise, step, most, data, monkeypatch):
    weights, x, y, _ = data
    uniform = np.random.default_rng(1).uniform(size=x.shape).astype(np.float32)
    monkeypatch.setattr(Batch, 'uniform_like', lambda batch, like: tf.constant(uniform))
    start = np.clip(x + noise * EPS * (2 * uniform - 1), 0, 1)
    climbed = start + step * EPS * np.sign(slope(weights, start, y)[0] @ weights.T).reshape(x.shape)
    want = np.clip(x + np.clip(climbed - x, -most * EPS, most * EPS), 0, 1)
    found = objective.adversaries(Batch(linear(weights).net, x, y)).numpy()
    np.testing.assert_allclose(found, want, atol=1e-6)
    assert (np.abs(found - x).max() > EPS + 0.1) == (most > 1)


def free_by_hand(data, epochs: int):
    """Losses, weights and the perturbation of ``epochs`` of Free adversarial training."""
    weights, x, y, order = data
    weights, kept, losses = weights.astype(float), np.zeros((B, 4)), []
    for rows in np.tile(order, epochs).reshape(-1, B):
        for _ in range(M):
            clean = x[rows].reshape(B, 4)
            images = np.clip(clean + kept, 0, 1)
            gradient, entropies = slope(weights, images, y[rows])
            losses.append(entropies.mean())
            moved = np.clip(images - clean + EPS * np.sign(gradient @ weights.T), -EPS, EPS)
            kept = np.clip(clean + moved, 0, 1) - clean
            weights = weights - LR * images.T @ gradient / B
    return losses, weights, kept


def free_model(weights, parts: int = 1, objective=None) -> Model:
    with use_device(['cpu'] * parts).strategy.scope():
        model = linear(weights)
    model.minimise(objective or Free(EPS, replays=M), N, B)
    return model


@pytest.mark.long(after=1)
@pytest.mark.parametrize('parts', [1, 3])
def test_free_takes_both_steps_by_one_gradient_and_replays_each_batch(parts, data):
    """On three devices a batch of four does not divide evenly."""
    weights, x, y, order = data
    model = free_model(weights, parts)
    found = np.concatenate([model.train_epoch(x, y, order, B, LR) for _ in range(2)])
    losses, weights, perturbation = free_by_hand(data, 2)
    np.testing.assert_allclose(found, losses, rtol=1e-5)
    assert model.steps_taken == len(found) == 2 * N // B * M
    np.testing.assert_allclose(model.net.get_weights()[0], weights, atol=1e-5)
    np.testing.assert_allclose(model.state()['objective/perturbation'].reshape(B, 4), perturbation, atol=1e-5)
    assert np.abs(perturbation).max() > EPS / 2


def test_the_perturbation_of_free_is_rolled_back_and_resumed_with_the_weights(data):
    weights, x, y, order = data
    model = free_model(weights)
    model.train_epoch(x, y, order, B, LR)
    model.keep()
    after_one, losses = model.state(), model.train_epoch(x, y, order[::-1].copy(), B, LR)
    model.roll_back()
    other = free_model(weights)
    other.restore_state(after_one)
    for again in (model, other):
        assert again.steps_taken == N // B * M
        np.testing.assert_array_equal(again.train_epoch(x, y, order[::-1].copy(), B, LR), losses)


def test_free_beside_another_objective_has_its_replays_and_its_place(data):
    weights, x, y, order = data
    model = free_model(weights, objective=Weighted([(1.0, Free(EPS, replays=M)), (1e-9, CrossEntropy())]))
    np.testing.assert_allclose(model.train_epoch(x, y, order, B, LR), free_by_hand(data, 1)[0], rtol=1e-5)


def test_what_cannot_replay_batches_says_so(data):
    model = linear(data[0])
    with pytest.raises(ValueError, match='Free takes several steps on each batch, which fit does not'):
        ObjectiveModel(model.net, Free(EPS))
    with pytest.raises(ValueError, match='say how many there are, as in'):
        model.minimise(Free(EPS), N)
    with pytest.raises(ValueError, match='eps is 8; pixels are in'):
        objective_of({'type': 'n-fgsm', 'eps': 8}).layers(model.net)
