"""What figures are drawn with, from working directories alone; no TensorFlow."""

from collections.abc import Callable
from typing import Any

from .drawing import (
    COLOURS,
    DASHES,
    STYLE,
    WIDTH,
    caption,
    draw_curves,
    draw_robust_accuracy,
    hues,
    legend_above,
    legend_on_top,
    loss_and_margin,
    powers_of_ten,
    scaled,
    shades,
    styled,
)

FIGURES: dict[str, Callable[..., Any]] = {}
"""Figures that were registered: from working directories to a matplotlib figure, or to a table. Those of this project
are files in figures/."""

__all__ = [
    'COLOURS', 'DASHES', 'FIGURES', 'STYLE', 'WIDTH', 'caption', 'draw_curves', 'draw_robust_accuracy', 'hues',
    'legend_above', 'legend_on_top', 'loss_and_margin', 'powers_of_ten', 'scaled', 'shades', 'styled',
]
