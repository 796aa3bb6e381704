"""Quick starts: pandas imported at its first use, and the garbage collector kept from pausing the process."""

import contextlib
import gc
import importlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

__all__ = ["LATER_IMPORTS_SECONDS", "garbage_collection_paused", "pd", "spare_long_lived", "spare_once_started"]

LATER_IMPORTS_SECONDS = 60  # by then all is imported that waits for its first use
YOUNG_OBJECTS = 10_000  # made and not freed since the last collection: then comes the next

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


def spare_long_lived() -> None:
    """Take what lives by now out of the garbage collector's sight, and have it look at what is new less often.

    For a process that serves, once it has started: to look through all that was imported stops every thread for some
    80 ms, again and again, and hardly any of it ever dies. Most of what is new dies without the collector.
    """
    gc.freeze()
    _, *older = gc.get_threshold()
    gc.set_threshold(YOUNG_OBJECTS, *older)


def spare_once_started() -> None:
    """Spare what lives now, and again what is imported later. For the event loop of a server that has started."""
    import asyncio  # noqa: PLC0415 - a command that serves nothing need not wait for it

    spare_long_lived()
    asyncio.get_running_loop().call_later(LATER_IMPORTS_SECONDS, spare_long_lived)
