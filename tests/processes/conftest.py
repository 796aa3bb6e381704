import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [path for path in (str(TESTS), str(TESTS / "support"), str(TESTS / "scenarios")) if path not in sys.path]

from processes.children import Child, Nursery, nursery  # noqa: E402 - found through the line above


@pytest.fixture
def children(tmp_path: Path, migrated_file: Path) -> Iterator[Nursery]:
    """Starts processes around one empty store; all are ended with the test."""
    shutil.copy(migrated_file, tmp_path / "tracking.db")
    with nursery(tmp_path) as made:
        yield made


@pytest.fixture
def sandbox(children: Nursery) -> Child:
    """The simulated provider over HTTP, where orders are done within seconds."""
    return children.sandbox()
