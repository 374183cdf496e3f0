"""What it costs to write down where a run is, after every accepted epoch, as a share of the epoch.

    python benchmarks/resume_cost.py [DIRECTORY]      (on whose disk it writes; default: the temporary one)

An epoch is one of exper-final-mnist-cnn-loss-based-lr with its statistics, extrapolated from a tenth of its steps; the
images are random. The state is written and synchronised as in a run, and so is a line of history.jsonl.
"""

from __future__ import annotations

import runpy
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / 'benchmarks')]

from epoch import IMAGES, TEST_IMAGES, seconds  # noqa: E402

import models  # noqa: E402
from core.devices import use_device  # noqa: E402
from core.flags import archiver_of, scheduler_of  # noqa: E402
from core.tasks.epochs import Training, TrainingSettings  # noqa: E402
from core.workdir import Workdir  # noqa: E402


def main() -> None:
    device = use_device(None).text
    import tensorflow as tf

    flags = runpy.run_path(str(ROOT / 'experiments/exper-final-mnist-cnn-loss-based-lr.py'))['FLAGS']
    rng, batch = np.random.default_rng(0), flags['B']
    train, test = ((tf.constant(rng.random((n, 28, 28, 1), dtype=np.float32)), tf.constant(rng.integers(0, 10, n)))
                   for n in (IMAGES, TEST_IMAGES))
    model = models.SimpleSequential('model', (28, 28, 1), train_mode=flags['train_mode'], seed=0, **flags['model'])
    order = rng.permutation(IMAGES)[:IMAGES // 10]
    model.train_epoch(*train, order[:10 * batch], batch, 1e-3, 0.8), model.get_stats((train, test), 0.8)  # compiles
    training = 10 * seconds(lambda: model.train_epoch(*train, order, batch, 1e-3, 0.8))
    measuring = seconds(lambda: model.get_stats((train, test), 0.8))

    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as path:
        workdir = Workdir(path)
        run = Training(model, (train, test), scheduler_of(flags['lr'], 0.8), archiver_of(flags['archive']), workdir,
                       lambda *_: order, TrainingSettings(E=1, B=batch))
        stats = model.get_stats((train, test), 0.8)[0]
        line = {'attempt': 1, 'eid': 1, 'cmd': 'go', 'lr': 0.1, 'log_frame': 0.8, 'stats': stats}

        def save() -> None:
            workdir.append_history(line)
            run._commit(0.8, 0.1)

        saving = [seconds(save) for _ in range(20)]
        size = workdir.state_path.stat().st_size
    print(f'device         {device}')
    print(f'epoch          {training + measuring:.1f} s: training {training:.1f}, statistics {measuring:.1f}')
    print(f'saving         {np.median(saving) * 1e3:.0f} ms (median of 20; {min(saving) * 1e3:.0f} to '
          f'{max(saving) * 1e3:.0f}), {size / 2 ** 20:.1f} MiB')
    print(f'cost           {np.median(saving) / (training + measuring):.2%} of an epoch')


if __name__ == '__main__':
    main()
