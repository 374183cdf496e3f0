"""The Python of the README runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TEXT = (Path(__file__).resolve().parents[1] / 'README.md').read_text()
BLOCKS = [b for b in re.findall(r'```python\n(.*?)```', TEXT, re.DOTALL) if 'logs/' not in b]


@pytest.mark.parametrize('block', BLOCKS, ids=['measure', 'loop', 'fit'])
def test_code_runs_and_does_what_it_says(block, capsys):
    names: dict = {}
    exec(compile(block, 'README.md', 'exec'), names)
    if 'stats' in names:
        lines = capsys.readouterr().out.split('\n')
        assert len(lines) > 10 and names['log_frame'] < 0 and Path('mine.keras').exists()
    elif 'radii' in names:
        assert names['success'].all() and names['radii'].max() > 0 and 0 < names['robust'].mean() < 1
    else:
        assert names['rate'].log_loss < 0 and names['monitor'].is_homogeneous and Path('margin.keras').exists()
