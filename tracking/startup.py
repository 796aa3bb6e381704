"""Start: quicker imports: the garbage collector paused, and pandas imported at its first use."""

import contextlib
import gc
import importlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

__all__ = ["garbage_collection_paused", "pd"]

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
def garbage_collection_paused() -> Iterator[None]:
    """Pause the garbage collector while the console is imported: that is a sixth of its start.

    Nothing that is imported is ever garbage, so the collector looks at none of it afterwards either.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collects:
            gc.enable()
