"""Margin ascent: training that raises the normalised margin itself; see ``model``."""
