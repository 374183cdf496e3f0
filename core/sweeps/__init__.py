"""Sweeps: grids of runs, what is known of them, and how they are run."""
