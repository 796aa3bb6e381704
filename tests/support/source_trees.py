"""The source of this checkout as syntax trees, each file parsed once for all tests of a worker."""

import ast
import functools
import gc
from pathlib import Path


@functools.cache
def tree(file: Path) -> ast.Module:
    """The file's tree. Searched for garbage while it grows, which it never is, it would take three times as long."""
    collects = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(file.read_text())
    finally:
        if collects:
            gc.enable()
