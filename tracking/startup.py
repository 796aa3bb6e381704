"""What makes a start quick: the garbage collector paused while importing, and pandas imported at its first use.

Nothing of the console works before everything is imported, and somebody waits for that.
"""

import contextlib
import gc
import importlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

__all__ = ["pd", "quickly"]

if TYPE_CHECKING:
    import pandas as pd
else:

    class _LazyPandas:
        """Imports pandas at its first use: that takes half of a worker's start, and a worker makes no tables."""

        def __getattr__(self, name: str) -> Any:
            return getattr(importlib.import_module("pandas"), name)

    # Not importlib.util.LazyLoader: before Python 3.12 it fails where two threads come first together.
    pd = _LazyPandas()


@contextlib.contextmanager
def quickly() -> Iterator[None]:
    """For importing the console.

    - Nothing that is imported is ever garbage, so the collector need not look through all of it again and again: that
      is a sixth of a worker's start, and afterwards it looks at none of it any more.
    - httpx imports its own command line where it can, with all that draws tables; a name that is None in `sys.modules`
      is Python's way to say that it cannot.
    """
    collects = gc.isenabled()
    gc.disable()
    hidden = "httpx._main"
    hides = hidden not in sys.modules
    if hides:
        sys.modules[hidden] = None  # type: ignore[assignment]  # see above
    try:
        yield
    finally:
        if hides:
            del sys.modules[hidden]
        gc.freeze()
        if collects:
            gc.enable()
