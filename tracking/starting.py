"""What makes a start quick: nothing of the console works before everything is imported, and somebody waits for that."""

import contextlib
import gc
import sys
from collections.abc import Iterator


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
