"""Compiled functions. ``tf.function`` has AutoGraph rewrite whatever Python it comes by, at a cost that is most of what
a short command takes; here only those functions are rewritten whose loops and branches are over tensors."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import tensorflow as tf

F = TypeVar('F', bound=Callable[..., Any])


def graph_function(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """``tf.function`` of what is Python as it stands, but for what is ``loops_in_graph``."""
    return tf.function(function, *args, autograph=False, **kwargs)


def compiled_once(function: Callable[..., Any], *specs: Any) -> Callable[..., Any]:
    """A function compiled for arguments of these kinds, now; a bare ``tf.function`` would warn of many instances."""
    return graph_function(function, input_signature=specs).get_concrete_function()


def loops_in_graph(function: F) -> F:
    """A function whose own loops and branches may be over tensors, ``for i in tf.range(n)``: in a compiled function
    they become those of the graph. What it calls stays as it is. It is rewritten when it is first called."""
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return _rewritten(function)(*args, **kwargs)
    return call  # type: ignore[return-value]


@functools.cache
def _rewritten(function: Callable[..., Any]) -> Callable[..., Any]:
    return tf.autograph.to_graph(function, recursive=False)
