"""The byte work under everything: key codec, window keys and the apply loop, native or in Python.

``STATESTORE_PURE_PYTHON=1`` in the environment at the first import chooses the pure-Python twin, which does
the same three to ten times slower; otherwise the extension ``statestore._native`` must be there.
``IMPLEMENTATION`` is ``"native"`` or ``"pure"``.
"""

import os
from typing import TYPE_CHECKING, Literal

from statestore._common import Folded

IMPLEMENTATION: Literal["native", "pure"]

if not TYPE_CHECKING and os.environ.get("STATESTORE_PURE_PYTHON") == "1":
    from statestore._pure import KeyCodec, fold, split_window_key, window_key

    IMPLEMENTATION = "pure"
else:
    try:
        from statestore._native import KeyCodec, fold, split_window_key, window_key
    except ImportError as error:
        raise ImportError(
            f"the extension statestore._native is missing or cannot be loaded ({error}): install statestore "
            "again, from source with a C compiler; or set STATESTORE_PURE_PYTHON=1 to run without it, slower"
        ) from error

    IMPLEMENTATION = "native"

__all__ = ["IMPLEMENTATION", "Folded", "KeyCodec", "fold", "split_window_key", "window_key"]
