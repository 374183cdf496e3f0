"""The released networks in PyTorch, state dictionaries of them that need no PyTorch, and what PyTorch makes of these.

    python tests/torch_peers.py tests/reference/torch.npz        (with the extra 'peers')

writes the logits and steps that tests/test_torch_weights.py and tests/test_optimizers.py compare with. The networks are
written from what the released code and RobustBench compute, and have their names.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

RELEASED = {'group': 'convgroup', 'shortcut': 'conv_shortcut'}
"""Names of stages and shortcuts in AdverTorch, which the released code uses."""
ROBUSTBENCH = {'group': 'block', 'shortcut': 'convShortcut'}
PLACES = {
    'lenet5': ({'name': 'lenet5'}, (28, 28, 1)),
    'wrn-10-1': ({'name': 'wrn', 'depth': 10, 'widen': 1, **RELEASED}, (32, 32, 3)),
    'wrn-16-2': ({'name': 'wrn', 'depth': 16, 'widen': 2, **ROBUSTBENCH}, (32, 32, 3)),
    'wrn-28-4': ({'name': 'wrn', 'depth': 28, 'widen': 4, **ROBUSTBENCH}, (32, 32, 3)),
    'wrn-28-10': ({'name': 'wrn', 'depth': 28, 'widen': 10, **ROBUSTBENCH}, (32, 32, 3)),
}
"""Networks whose logits are stored: what they are, and the shape of their images."""
STEPS = {'rates': [0.05, 0.05, 0.02, 0.002], 'momentum': 0.9, 'weight_decay': 0.01}
"""Of the steps that are stored, of wrn-10-1."""


def shapes_of(name: str, depth: int = 28, widen: int = 4, group: str = 'block', shortcut: str = 'convShortcut'
              ) -> dict[str, tuple[int, ...]]:
    """The names of a state dictionary, and the shapes of what they stand for."""
    if name == 'lenet5':
        kernels = {'conv1': (32, 1, 5, 5), 'conv2': (64, 32, 5, 5), 'linear1': (1024, 3136), 'linear2': (10, 1024)}
        return {f'{k}.{v}': shape if v == 'weight' else shape[:1] for k, shape in kernels.items()
                for v in ('weight', 'bias')}
    found: dict[str, tuple[int, ...]] = {}

    def bn(prefix: str, width: int) -> None:
        found.update({f'{prefix}.{v}': (width,) for v in ('weight', 'bias', 'running_mean', 'running_var')})
        found[f'{prefix}.num_batches_tracked'] = ()
    found['conv1.weight'], before = (16, 3, 3, 3), 16
    for stage in (1, 2, 3):
        width = 8 * widen * 2 ** stage
        for unit in range((depth - 4) // 6):
            prefix = f'{group}{stage}.layer.{unit}'
            bn(f'{prefix}.bn1', before)
            found[f'{prefix}.conv1.weight'] = (width, before, 3, 3)
            bn(f'{prefix}.bn2', width)
            found[f'{prefix}.conv2.weight'] = (width, width, 3, 3)
            if before != width:
                found[f'{prefix}.{shortcut}.weight'] = (width, before, 1, 1)
            before = width
    bn('bn1', before)
    return {**found, 'fc.weight': (10, before), 'fc.bias': (10,)}


def state_of(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, np.ndarray]:
    """Weights of these shapes, float32, of such sizes that activations neither vanish nor grow."""
    rng, found = np.random.RandomState(seed), {}
    for name, shape in shapes.items():
        if name.endswith('num_batches_tracked'):
            found[name] = np.array(7, np.int64)
        elif len(shape) > 1:
            found[name] = (rng.standard_normal(shape) * np.sqrt(1 / np.prod(shape[1:]))).astype(np.float32)
        elif name.endswith('running_var') or ('bn' in name and name.endswith('weight')):
            found[name] = rng.uniform(0.5, 1.5, shape).astype(np.float32)
        else:
            found[name] = (0.1 * rng.standard_normal(shape)).astype(np.float32)
    return found


def images_of(shape: tuple[int, ...], n: int = 4, seed: int = 1) -> np.ndarray:
    """Images [n, H, W, C] of noise; the second to fourth of little, very little and no contrast."""
    x = np.random.RandomState(seed).uniform(size=(n, *shape)).astype(np.float32)
    for i, contrast in ((1, 0.1), (2, 0.01), (3, 0.0)):
        x[i] = 0.5 + contrast * (x[i] - 0.5)
    return x


def network(name: str, depth: int = 28, widen: int = 4, group: str = 'block', shortcut: str = 'convShortcut') -> Any:
    """The network in PyTorch, at its own initial weights."""
    import torch
    from torch import nn

    if name == 'lenet5':
        class LeNet5(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv1, self.conv2 = nn.Conv2d(1, 32, 5, padding=2), nn.Conv2d(32, 64, 5, padding=2)
                self.linear1, self.linear2 = nn.Linear(64 * 7 * 7, 1024), nn.Linear(1024, 10)

            def forward(self, x):
                for conv in (self.conv1, self.conv2):
                    x = torch.max_pool2d(torch.relu(conv(x)), 2)
                return self.linear2(torch.relu(self.linear1(torch.flatten(x, 1))))
        return LeNet5()

    class Unit(nn.Module):
        def __init__(self, before, width, stride):
            super().__init__()
            self.bn1, self.bn2 = nn.BatchNorm2d(before), nn.BatchNorm2d(width)
            self.conv1 = nn.Conv2d(before, width, 3, stride, padding=1, bias=False)
            self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
            if before != width:
                setattr(self, shortcut, nn.Conv2d(before, width, 1, stride, bias=False))

        def forward(self, x):
            activated = torch.relu(self.bn1(x))
            inner = self.conv2(torch.relu(self.bn2(self.conv1(activated))))
            return inner + (getattr(self, shortcut)(activated) if hasattr(self, shortcut) else x)

    class Stage(nn.Module):
        def __init__(self, before, width, stride):
            super().__init__()
            self.layer = nn.Sequential(*(Unit(width if i else before, width, 1 if i else stride)
                                         for i in range((depth - 4) // 6)))

        def forward(self, x):
            return self.layer(x)

    class WideResidual(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
            widths = [16, 16 * widen, 32 * widen, 64 * widen]
            for i in (1, 2, 3):
                setattr(self, f'{group}{i}', Stage(widths[i - 1], widths[i], 1 if i == 1 else 2))
            self.bn1, self.fc = nn.BatchNorm2d(widths[3]), nn.Linear(widths[3], 10)

        def forward(self, x):
            mean, deviation = x.mean((1, 2, 3), keepdim=True), x.std((1, 2, 3), keepdim=True)
            x = self.conv1((x - mean) / deviation.clamp(min=x[0].numel() ** -0.5))
            for i in (1, 2, 3):
                x = getattr(self, f'{group}{i}')(x)
            return self.fc(torch.relu(self.bn1(x)).mean((2, 3)))
    return WideResidual()


def with_state(of: dict[str, Any]) -> Any:
    """The network in PyTorch with the weights of ``state_of``, for inference."""
    import torch

    net = network(**of)
    net.load_state_dict({k: torch.tensor(v) for k, v in state_of(shapes_of(**of)).items()})
    return net.eval()


def logits_of(net: Any, x: np.ndarray) -> np.ndarray:
    """PyTorch's logits, float32 [N, 10], of images [N, H, W, C]."""
    import torch

    with torch.no_grad():
        return net(torch.tensor(x.transpose(0, 3, 1, 2).copy())).numpy()


def steps_of() -> dict[str, np.ndarray]:
    """Training steps of wrn-10-1: the losses, and of each weight after them its norm and its first numbers."""
    import torch

    of, shape = PLACES['wrn-10-1']
    net = with_state(of).train()
    x, y = images_of((8, 8, 3), 8, seed=2), np.arange(8)
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0, momentum=STEPS['momentum'],
                                weight_decay=STEPS['weight_decay'])
    losses = []
    for rate in STEPS['rates']:
        optimizer.param_groups[0]['lr'] = rate
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(torch.tensor(x.transpose(0, 3, 1, 2).copy())), torch.tensor(y))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    after = {k: v.detach().numpy() for k, v in net.state_dict().items() if not k.endswith('tracked')}
    return {'steps/losses': np.array(losses), **{f'steps/norm/{k}': np.linalg.norm(v) for k, v in after.items()},
            **{f'steps/first/{k}': v.ravel()[:4] for k, v in after.items()}}


def main() -> None:
    import torch

    found: dict[str, Any] = {'torch': np.array(torch.__version__), **steps_of()}
    for name, (of, shape) in PLACES.items():
        found[f'logits/{name}'] = logits_of(with_state(of), images_of(shape))
    np.savez_compressed(sys.argv[1], **found)


if __name__ == '__main__':
    main()
