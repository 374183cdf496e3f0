"""State dictionaries of PyTorch as networks here: LeNet5 and wide residual networks, as released with MMA training
(Ding et al., arXiv 1812.02637), in AdverTorch and in RobustBench. Nothing here imports PyTorch."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .architectures import build_model
from .model import Model
from .types import BiasMode, shown

WRAPPERS = ('state_dict', 'model_state_dict', 'model', 'net')
"""Keys under which files of training keep a state dictionary, beside other things."""
NAMES = "'lenet5', or of the form 'wrn-28-4'"
_IMAGE = {'lenet5': ('mnist', (28, 28, 1)), 'wrn': ('cifar10', (32, 32, 3))}
_BN = {'weight': 'gamma', 'bias': 'beta', 'running_mean': 'moving_mean', 'running_var': 'moving_variance'}
_SHOWN = 4


@dataclass(frozen=True)
class TorchNetwork:
    """A network that a state dictionary is of.

    Attributes:
        name: 'lenet5', or such as 'wrn-28-4'.
        arch, model: the architecture, and what the flag ``model`` says of it.
        input_shape: (height, width, channels) of an image.
        dataset: what such networks are trained on, 'mnist' or 'cifar10'.
        weights: the weights here, by their names in ``Model.weights``.
        called: what PyTorch calls each of them.
    """

    name: str
    arch: str
    model: dict[str, Any]
    input_shape: tuple[int, int, int]
    dataset: str
    weights: dict[str, np.ndarray]
    called: dict[str, str]

    def build(self) -> Model:
        """The network with these weights.

        Raises:
            ValueError: a weight has another shape than the others say.
        """
        model = build_model(self.arch, self.input_shape, **self.model)
        self.put_into(model)
        return model

    def put_into(self, model: Model) -> None:
        """Gives these weights to a model of the architecture; raises what ``build`` does."""
        for ours, value in model.weights().items():
            if self.weights[ours].shape != value.shape:
                raise ValueError(f'{self.called[ours]} does not fit the other weights of a {self.name}: here it would '
                                 f'have the shape {value.shape}, and has {self.weights[ours].shape}')
        model.set_weights(self.weights)


def state_dictionary(loaded: Any) -> dict[str, Any]:
    """The state dictionary in what ``torch.load`` gave: itself, or within the record of a training. Of names that all
    begin alike, such as those of ``DataParallel`` ('module.') or of a network behind a standardisation ('1.'), the
    beginning is left out, and so are counts of batches.

    Args:
        loaded: dictionaries, whose values may be tensors or arrays.

    Raises:
        ValueError: there is none.
    """
    for key in WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            return state_dictionary(loaded[key])
    if not isinstance(loaded, Mapping) or not loaded or not all(
            isinstance(k, str) and hasattr(v, 'shape') for k, v in loaded.items()):
        raise ValueError(f'this is no state dictionary, from names to weights, but a {type(loaded).__name__}'
                         f'{_some(loaded) if isinstance(loaded, Mapping) else ""}; torch.save(net.state_dict(), FILE) '
                         'writes one')
    names = {k: k for k in loaded if not k.endswith('num_batches_tracked')}
    while names and len({n.partition('.')[0] for n in names.values()}) == 1 and all('.' in n for n in names.values()):
        names = {k: n.partition('.')[2] for k, n in names.items()}
    return {n: loaded[k] for k, n in names.items()}


def network_of_state(state: Mapping[str, Any], arch: str | None = None, standardise: bool = True) -> TorchNetwork:
    """The network that a state dictionary is of, which is seen from names and shapes.

    Args:
        state: arrays by name, see ``state_dictionary``.
        arch: what it has to be, 'lenet5' or such as 'wrn-28-4'; None for any.
        standardise: whether a wide residual network standardises its images, of which a state dictionary says nothing:
            the released ones do (in RobustBench, Ding2020MMA does, and others of the same names do not).

    Raises:
        ValueError: names or shapes of another network, or weights that are not finite.
    """
    if arch is not None and not re.fullmatch(r'lenet5|wrn-\d+-\d+', str(arch)):
        raise ValueError(f'arch must be {NAMES}, not {shown(arch)}')
    arrays = {name: np.asarray(value) for name, value in state.items()}
    if bad := [name for name, v in arrays.items() if v.dtype.kind != 'f' or not np.isfinite(v).all()]:
        raise ValueError(f'{bad[0]} has values that are not finite numbers')
    if 'linear1.weight' in arrays:
        found = _lenet5(arrays)
    elif 'fc.weight' in arrays and 'conv1.weight' in arrays:
        found = _wide_residual(arrays, standardise)
    else:
        raise ValueError('this is neither a LeNet5 (conv1, conv2, linear1, linear2) nor a wide residual network (conv1,'
                         f' block1.layer.0.bn1, ..., fc) of the released code or RobustBench: it{_some(arrays)}')
    if arch is not None and arch != found.name:
        raise ValueError(f'these are the weights of a {found.name}, not of a {arch}')
    return found


def _lenet5(arrays: Mapping[str, np.ndarray]) -> TorchNetwork:
    layers = ('conv1', 'conv2', 'linear1', 'linear2')
    _require(arrays, [f'{layer}.{v}' for layer in layers for v in ('weight', 'bias')], 'LeNet5')
    conv1, conv2, linear1, linear2 = (arrays[f'{layer}.weight'] for layer in layers)
    if [w.ndim for w in (conv1, conv2, linear1, linear2)] != [4, 4, 2, 2] or any(
            n % 2 == 0 for w in (conv1, conv2) for n in w.shape[2:]):
        raise ValueError('the kernels are not those of a LeNet5: two convolutions of odd size, two dense layers')
    dataset, shape = _IMAGE['lenet5']
    height, width = (n // 4 for n in shape[:2])
    description: list[Any] = []
    for w in (conv1, conv2):
        description += [['C', w.shape[0], list(w.shape[2:])], ['P']]
    description += [['F', linear1.shape[0]], ['F', linear2.shape[0], {'act': False}]]
    if linear1.shape[1] != height * width * conv2.shape[0]:
        raise ValueError(f'linear1.weight must have the shape {(linear1.shape[0], height * width * conv2.shape[0])} in '
                         f'a LeNet5 of images of {shape[0]}x{shape[1]} pixels, not {linear1.shape}')
    # PyTorch flattens channel by channel, Keras pixel by pixel.
    flat = linear1.reshape(-1, conv2.shape[0], height, width).transpose(0, 2, 3, 1).reshape(linear1.shape)
    weights: dict[str, np.ndarray] = {}
    called: dict[str, str] = {}
    for layer, ours, kernel in (('conv1', 'conv1', conv1), ('conv2', 'conv3', conv2), ('linear1', 'fc5', flat),
                                ('linear2', 'fc6', linear2)):
        name = f'{ours}_f' if kernel.ndim == 4 else f'{ours}_W'
        weights |= {name: _kernel(kernel), f'{ours}_b': arrays[f'{layer}.bias']}
        called |= {name: f'{layer}.weight', f'{ours}_b': f'{layer}.bias'}
    model = {'description': description, 'bias_mode': BiasMode.ALL, 'init': {'weight': 'torch', 'bias': 'torch'}}
    return TorchNetwork('lenet5', 'simple_sequential', model, shape, dataset, weights, called)


def _wide_residual(arrays: Mapping[str, np.ndarray], standardise: bool) -> TorchNetwork:
    group = 'convgroup' if any(n.startswith('convgroup') for n in arrays) else 'block'
    shortcut = 'conv_shortcut' if group == 'convgroup' else 'convShortcut'
    units = len({m[1] for m in (re.match(rf'{group}1\.layer\.(\d+)\.', n) for n in arrays) if m})
    labels, width = arrays['fc.weight'].shape if arrays['fc.weight'].ndim == 2 else (0, 0)
    depth, widen = 6 * units + 4, width // 64
    if not units or labels < 2 or not widen or width % 64:
        raise ValueError(f'this is no wide residual network: it has {units} units in its first stage, and fc.weight of '
                         f'the shape {arrays["fc.weight"].shape}, which is (classes, 64 times a whole number) there')
    name = f'wrn-{depth}-{widen}'
    called = {ours: theirs for theirs, ours, _ in _parts(units, widen, group, shortcut)}
    _require(arrays, list(called.values()), name)
    weights = {ours: make(arrays[theirs]) for theirs, ours, make in _parts(units, widen, group, shortcut)}
    model = {'depth': depth, 'widen': widen, 'num_labels': labels, 'standardise': standardise}
    dataset, shape = _IMAGE['wrn']
    return TorchNetwork(name, 'wide_residual', model, shape, dataset, weights, called)


def _parts(units: int, widen: int, group: str, shortcut: str
           ) -> Iterator[tuple[str, str, Callable[[np.ndarray], np.ndarray]]]:
    """Of each weight of a wide residual network its name there, its name here, and what is made of it; the layers are
    numbered here in the order of ``networks.wide_residual``."""
    convolutions, normalisations = ['conv1'], []
    for stage in (1, 2, 3):
        for unit in range(units):
            prefix = f'{group}{stage}.layer.{unit}'
            normalisations += [f'{prefix}.bn1', f'{prefix}.bn2']
            convolutions += [f'{prefix}.conv1', f'{prefix}.conv2']
            if unit == 0 and (stage > 1 or widen > 1):
                convolutions.append(f'{prefix}.{shortcut}')
    for i, theirs in enumerate(convolutions, start=1):
        yield f'{theirs}.weight', f'conv{i}_f', _kernel
    for i, theirs in enumerate([*normalisations, 'bn1'], start=1):
        for there, here in _BN.items():
            yield f'{theirs}.{there}', f'bn{i}_{here}', np.asarray
    dense = len(convolutions) + 1
    yield 'fc.weight', f'fc{dense}_W', _kernel
    yield 'fc.bias', f'fc{dense}_b', np.asarray


def _kernel(w: np.ndarray) -> np.ndarray:
    """A kernel [out, in, height, width] as [height, width, in, out]; [out, in] as [in, out]."""
    return w.transpose(2, 3, 1, 0) if w.ndim == 4 else w.T


def _require(arrays: Mapping[str, np.ndarray], names: list[str], what: str) -> None:
    if missing := [name for name in names if name not in arrays]:
        raise ValueError(f'a {what} has {missing[0]}, which is not in this state dictionary: it{_some(arrays)}')
    if extra := [name for name in arrays if name not in names]:
        raise ValueError(f'this state dictionary has {extra[0]}, which a {what} has not')


def _some(names: Mapping[Any, Any]) -> str:
    """Some of the names that there are, to end a sentence."""
    more = ', ...' if len(names) > _SHOWN else ''
    return f' has {", ".join(str(n)[:60] for n in list(names)[:_SHOWN]) or "nothing"}{more}'
