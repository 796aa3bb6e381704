import gc
import importlib
import subprocess
import sys

import pytest

from tracking.startup import garbage_collection_paused

UNUSED = (
    "alembic",
    "cryptography",
    "pandas",
    "prometheus_client",
    "psycopg",
    "pyarrow",
    "sqlalchemy.dialects.postgresql",
    "tracking.sandbox",
)


def test_a_worker_starts_without_what_it_does_not_use() -> None:
    code = f"""
import sys
from tracking.startup import garbage_collection_paused
with garbage_collection_paused():
    import tracking.__main__
print(*sorted(set({UNUSED}) & set(sys.modules)))"""
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert told.stdout.strip() == ""


def test_whatever_the_import_comes_to_garbage_is_collected_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc, "freeze", lambda: None)  # what a test leaves behind is to be found by the next one
    with pytest.raises(ModuleNotFoundError), garbage_collection_paused():
        importlib.import_module("gc" if gc.isenabled() else "no_such_module")
    assert gc.isenabled()
