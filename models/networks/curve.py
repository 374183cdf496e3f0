"""A curve between the weights of two networks, as a network: at each t in [0, 1] it is the one with the weights there.

    theta(t) = sum_k c_k(t) theta_k,    k = 0 .. K,    theta_0 and theta_K fixed, the bends between them trained

Garipov et al. (arXiv 1802.10026); Liu et al. (arXiv 2006.08403). Batch norm's gamma and beta are weights like others;
its moving statistics are not on the curve, see ``measures.moving_statistics``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from .. import checks
from .network import CountedLayer, Network

CHAINS = ('bezier', 'polygon', 'released-polygon')
"""Kinds of curves; see ``coefficients``."""
STARTS = ('straight', 'released')
"""Where bends begin; see ``between``."""
_NUMBERED = re.compile(r'p(\d+)\.(.*)', re.DOTALL)
_T = 't'


def coefficients(chain: str, points: int, t: Any) -> tf.Tensor:
    """What the weights of each point are multiplied by at t, float64 [points].

    'bezier': C(K, k) (1 - t)^(K - k) t^k, with K = points - 1. 'polygon': 1 - p and p of the two points on whose
    segment t is. 'released-polygon': as released with arXiv 2006.08403, where the second number overwrote the first:
    p of the first point alone, and at t = 1 K of the first point of all.

    Args:
        chain: one of ``CHAINS``.
        points: two at least.
        t: a number, or a float64 tensor; from 0 to 1 unless one means to leave the curve.
    """
    t, last, k = tf.convert_to_tensor(t, tf.float64), points - 1, tf.range(points, dtype=tf.float64)
    if chain == 'bezier':
        binomials = tf.constant([math.comb(last, i) for i in range(points)], tf.float64)
        return binomials * tf.pow(1 - t, last - k) * tf.pow(t, k)
    if chain == 'polygon':
        return tf.maximum(1 - tf.abs(last * t - k), tf.zeros([], tf.float64))
    segment = tf.math.floormod(tf.floor(last * t), tf.constant(last, tf.float64))
    return tf.where(k == segment, last * t - segment, 0)


@keras.saving.register_keras_serializable(package='max_margin')
class CurveLayer(keras.layers.Layer):
    """From images to the logits of a network with the weights that a curve has at ``t``.

    Args:
        network: a built Keras model; its own variables are no part of the layer.
        points: of the curve, the ends included.
        chain: one of ``CHAINS``.

    Attributes:
        network: what is run.
        points: of each point a variable for each weight of the network that is trained; those of the ends are not.
        statistics: the network's other variables, such as moving statistics, wherever t is; and of either end.
        t: float64, where on the curve the network is.
    """

    def __init__(self, network: keras.Model, points: int, chain: str = 'bezier', **kwargs: Any):
        super().__init__(**{'dtype': network.dtype_policy, 'autocast': False, **kwargs})
        self._held = lambda: network  # Keras does not look into a function for variables of the layer
        self.chain = chain
        self.t = self.add_weight(shape=(), initializer=keras.initializers.Constant(0.5), dtype='float64',
                                 trainable=False, autocast=False, name=_T)
        self.points = [[self._like(v, f'p{k}', 0 < k < points - 1) for v in network.trainable_variables]
                       for k in range(points)]
        # Each device has its own batch, so its own statistics, of which the mean is kept.
        self.statistics = [self._like(v, 'now', False, aggregation='mean') for v in network.non_trainable_variables]
        self.end_statistics = [[self._like(v, f'p{k}', False) for v in network.non_trainable_variables]
                               for k in (0, points - 1)]
        self.built = True

    def _like(self, v: keras.Variable, place: str, trainable: bool, **options: Any) -> keras.Variable:
        return self.add_weight(shape=v.shape, dtype=v.dtype, initializer='zeros', trainable=trainable, autocast=False,
                               name=f'{place}_{v.name}', **options)

    @property
    def network(self) -> keras.Model:
        return self._held()

    def inner_layers(self) -> list[keras.Layer]:
        """The layers of the network that is run; see ``chains.all_layers``."""
        return self.network._flatten_layers()

    def call(self, images: Any, training: bool | None = None) -> Any:
        shares = coefficients(self.chain, len(self.points), self.t.value)
        weights = [tf.add_n([tf.cast(shares[k], v.dtype) * v.value for k, v in enumerate(same)])
                   for same in zip(*self.points)]
        logits, statistics = self.network.stateless_call(
            weights, [v.value for v in self.statistics], images, training=training)
        if training:
            for own, new in zip(self.statistics, statistics):
                own.assign(new)
        return logits

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        return (input_shape[0], self.network.output_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'network': keras.saving.serialize_keras_object(self.network),
                'points': len(self.points), 'chain': self.chain}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> CurveLayer:
        kept = {k: v for k, v in config.items() if k not in ('network', 'dtype')}
        return cls(keras.saving.deserialize_keras_object(config['network']), **kept)


def curve_network(ends: Sequence[Network], bends: int = 1, chain: str = 'bezier', start: str = 'straight',
                  t: float = 0.5) -> Network:
    """The curve between two networks of one architecture, whose weights it copies.

    Its bends are what is trained, and what the norms count; they enter no product of norms, as the logits are
    homogeneous in no weights of one point alone. Names of weights have the point's number in front, 'p0.conv1_f';
    moving statistics are there as they are now, by their own name, and as either end has them.

    Args:
        ends: two networks.
        bends: points between them, one at least.
        chain: one of ``CHAINS``.
        start: where bends begin, one of ``STARTS``.
        t: where on the curve the network is to begin with, from 0 to 1.

    Raises:
        ValueError: an argument that is not such; networks that draw random numbers, are curves, or are not alike.
    """
    points = checks.count('bends', bends) + 2
    checks.one_of('chain', chain, CHAINS), checks.one_of('start', start, STARTS)
    t = checks.number('t', t, strict=False, high=1)
    base = ends[0]
    if curve_in(base.net) is not None:
        raise ValueError('the ends of a curve are networks of their own, not curves')
    if any(getattr(layer, 'seed_generator', None) is not None for layer in base.net._flatten_layers()):
        raise ValueError('a curve needs a network that draws no random numbers, as dropout does; rate 0 does not help')
    layer = CurveLayer(base.net, points, chain, name='curve')
    images = keras.Input(base.net.input_shape[1:], name='image')
    net = keras.Model(images, layer(images), name='curve')
    name_of = {id(v): name for name, v in base.weights.items()}
    trained = [name_of[id(v.value)] for v in base.net.trainable_variables]
    others = [name_of[id(v.value)] for v in base.net.non_trainable_variables]
    place = {id(v.value): i for i, v in enumerate(base.net.trainable_variables)}
    weights = {_T: layer.t.value}
    weights.update({f'p{k}.{name}': v.value for k, same in enumerate(layer.points) for name, v in zip(trained, same)})
    weights.update({name: v.value for name, v in zip(others, layer.statistics)})
    weights.update({f'p{k}.{name}': v.value for k, same in zip((0, points - 1), layer.end_statistics)
                    for name, v in zip(others, same)})

    def of_bend(k: int, variables: Sequence[tf.Variable]) -> tuple[tf.Variable, ...]:
        return tuple(layer.points[k][place[id(v)]].value for v in variables)
    inner = range(1, points - 1)
    network = Network(
        net, [CountedLayer(f'p{k}.{own.name}', of_bend(k, own.variables), 0) for k in inner for own in base.layers],
        False, {f'p{k}.{name}': of_bend(k, vs) for k in inner for name, vs in base.layer_vars.items()}, weights, 0)
    values = between([{name: v.numpy() for name, v in end.weights.items()} for end in ends], weights, start)
    for name, v in weights.items():
        v.assign(t if name == _T else values[name])
    return network


def between(ends: Sequence[Mapping[str, np.ndarray]], names: Mapping[str, Any], start: str = 'straight'
            ) -> dict[str, np.ndarray]:
    """The weights of a curve before it is trained, but for t.

    Its bends lie evenly on the straight line: ``theta_k = (1 - k / K) theta_0 + (k / K) theta_K``. Under
    'released' they are in the opposite order, as released with arXiv 2006.08403.

    Args:
        ends: the weights of both, by the names of their network.
        names: a mapping with the names of the curve's weights.
        start: one of ``STARTS``.

    Raises:
        ValueError: weights of another network.
    """
    numbers = {k for k, _ in _numbered(names)}
    last = max(numbers)
    statistics = _statistics(names)
    wanted = {name for _, name in _numbered(names)}
    found: dict[str, np.ndarray] = {}
    for own in ends:
        if missing := wanted.symmetric_difference(own):
            raise ValueError(f'the ends of a curve must be of one network, but they differ in {sorted(missing)[0]}')
    for k, name in _numbered(names):
        a, b = (np.asarray(own[name]) for own in ends)
        share = k / last if start == 'straight' or k in (0, last) else 1 - k / last
        found[f'p{k}.{name}'] = (a, b)[k // last] if k in (0, last) else (
            (1 - share) * a.astype(np.float64) + share * b).astype(a.dtype)
    for name in statistics:
        a, b = (np.asarray(own[name]) for own in ends)
        found[name] = ((a.astype(np.float64) + b) / 2).astype(a.dtype)
    return found


def point(weights: Mapping[str, np.ndarray], chain: str, t: float, straight: bool = False) -> dict[str, np.ndarray]:
    """The weights of the network at t, by its own names. At 0 and 1 they are exactly those of the ends, moving
    statistics included; elsewhere these are those that training left, which are to be computed anew.

    Args:
        weights: of the curve.
        chain: one of ``CHAINS``.
        t: from 0 to 1.
        straight: whether on the straight line between the ends instead.
    """
    last, statistics = max(k for k, _ in _numbered(weights)), _statistics(weights)
    names = list(dict.fromkeys(name for _, name in _numbered(weights)))
    if t in (0, 1) and chain != 'released-polygon':
        return {name: weights[f'p{round(t) * last}.{name}'] for name in names}
    ks = (0, last) if straight else range(last + 1)
    shares = coefficients('polygon' if straight else chain, len(ks), t).numpy()

    def mixed(name: str) -> np.ndarray:
        own = [weights[f'p{k}.{name}'] for k in ks]
        return np.sum([v.dtype.type(share) * v for share, v in zip(shares, own)], axis=0, dtype=own[0].dtype)
    return {name: weights[name] if name in statistics else mixed(name) for name in names}


def curve_in(net: Any) -> CurveLayer | None:
    """The layer of a network that is a curve; None of another."""
    layers = getattr(net, 'layers', ())
    return layers[-1] if layers and isinstance(layers[-1], CurveLayer) else None


def _numbered(names: Mapping[str, Any]) -> list[tuple[int, str]]:
    return [(int(m[1]), m[2]) for m in map(_NUMBERED.fullmatch, names) if m]


def _statistics(names: Mapping[str, Any]) -> list[str]:
    return [name for name in names if name != _T and not _NUMBERED.fullmatch(name)]
