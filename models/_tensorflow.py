"""The first import of TensorFlow, without its start-up messages."""

from __future__ import annotations

import os
import sys


def import_quietly() -> None:
    """Imports TensorFlow and makes it Keras's backend.

    TensorFlow writes about its build and about missing GPU libraries before its own log level takes effect, so standard
    error is set aside meanwhile. Setting TF_CPP_MIN_LOG_LEVEL shows what it says.
    """
    os.environ.setdefault('KERAS_BACKEND', 'tensorflow')
    if 'TF_CPP_MIN_LOG_LEVEL' in os.environ or 'tensorflow' in sys.modules:
        import tensorflow  # noqa: F401
        return
    os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'
    sys.stderr.flush()
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        import tensorflow  # noqa: F401
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)
