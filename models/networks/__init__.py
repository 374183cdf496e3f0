"""Architectures, a file each; they know no training."""
