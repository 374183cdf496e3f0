"""Runs from recorded weights and permutations, so that a run can be laid beside another attempt by attempt."""

from __future__ import annotations

import numpy as np

from models import Model

from ..errors import UserError, about
from ..workdir.npz import read_npz
from .epochs import Permutations


def load_initial_weights(model: Model, path: str) -> None:
    """Sets the weights to the arrays 'init/<variable>' of a file, or 'weights/<variable>', or bare names.

    Raises:
        UserError: the file cannot be read, or its arrays are not this network's weights.
    """
    arrays = read_npz(path, 'init_weights', holds='an array for each variable of the network')
    for prefix in ('init/', 'weights/', ''):
        found = {k[len(prefix):]: v for k, v in arrays.items() if k.startswith(prefix) and '/' not in k[len(prefix):]}
        if found:
            break
    with about(f'init_weights, {path}'):
        model.set_weights(found)
        if not model.is_finite():
            raise ValueError('the weights are not all finite')


def recorded_permutations(path: str, n: int, batch: int) -> Permutations:
    """Permutations from the rows of the array 'perm', integers [attempts, n], one per attempt of the run, in order.

    A file without 'perm' serves training on the full batch, where the order does not matter.

    Raises:
        UserError: the file cannot be read, or its first row is not a permutation of 0..n-1; when called, a later row is
            not, or there are too few.
    """
    perm = read_npz(path, 'permutations', holds="an array 'perm', integers [attempts, images]").get('perm')
    if perm is None and batch == n:
        return lambda eid, retry, attempt: np.arange(n)
    if perm is None:
        raise UserError(f"permutations: {path} has no array 'perm'")
    if perm.ndim != 2 or not np.issubdtype(perm.dtype, np.integer) or perm.shape[1] != n:
        hint = f'; set train_N={perm.shape[1]}' if perm.ndim == 2 and perm.shape[1] < n else ''
        raise UserError(f"permutations: 'perm' of {path} must be integers of shape [attempts, {n}], not {perm.dtype} "
                        f'of shape {perm.shape}{hint}')

    def row(eid: int, retry: int, attempt: int) -> np.ndarray:
        if attempt >= len(perm):
            raise UserError(f'permutations: {path} has {len(perm)} rows, and attempt {attempt + 1} needs one more')
        if not (np.sort(perm[attempt]) == np.arange(n)).all():
            raise UserError(f"permutations: row {attempt} of 'perm' of {path} is not a permutation of 0..{n - 1}")
        return perm[attempt]
    row(1, 0, 0)  # refused before anything is written
    return row
