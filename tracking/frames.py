"""pandas, imported at its first use: that takes as long as half of a worker's start, and a worker makes no tables."""

import importlib
from typing import TYPE_CHECKING, Any

__all__ = ["pd"]

if TYPE_CHECKING:
    import pandas as pd
else:

    class _AtFirstUse:
        def __getattr__(self, name: str) -> Any:
            return getattr(importlib.import_module("pandas"), name)

    # Not importlib.util.LazyLoader: before Python 3.12 it fails where two threads come first together.
    pd = _AtFirstUse()
