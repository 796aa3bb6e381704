"""The log of the test process, as it was before something configured it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def restored_log() -> Iterator[None]:
    """Put the handlers and the level of all logs back at the end of the block."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
