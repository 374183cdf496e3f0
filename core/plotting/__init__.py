"""What figures are drawn with, from working directories alone; no TensorFlow."""

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

__all__ = [
    'COLOURS', 'DASHES', 'STYLE', 'WIDTH', 'caption', 'draw_curves', 'draw_robust_accuracy', 'hues', 'legend_above',
    'legend_on_top', 'loss_and_margin', 'powers_of_ten', 'scaled', 'shades', 'styled',
]
