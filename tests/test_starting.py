import gc
import importlib
import subprocess
import sys
from unittest.mock import Mock

import pytest
from streamlit.components.v2 import manifest_scanner
from streamlit.components.v2.component_manager import BidiComponentManager

from tracking import startup as starting

UNUSED = (
    "alembic",
    "cryptography",
    "pandas",
    "prometheus_client",
    "psycopg",
    "pyarrow",
    "rich",
    "sqlalchemy.dialects.postgresql",
    "tracking.sandbox",
)


def test_a_worker_starts_without_what_it_does_not_use() -> None:
    code = f"""
import sys
from tracking import startup as starting
with starting.quickly():
    import tracking.__main__
print(*sorted(set({UNUSED}) & set(sys.modules)))"""
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert told.stdout.strip() == ""


def test_whatever_the_import_comes_to_garbage_is_collected_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc, "freeze", lambda: None)  # what a test leaves behind is to be found by the next one
    monkeypatch.delitem(sys.modules, "httpx._main", raising=False)
    with pytest.raises(ModuleNotFoundError), starting.quickly():
        importlib.import_module("httpx._main" if not gc.isenabled() else "gc")
    assert gc.isenabled()
    assert "httpx._main" not in sys.modules


def test_streamlit_asks_for_components_where_the_launcher_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    scan = Mock(return_value=[])
    monkeypatch.setattr(manifest_scanner, "scan_component_manifests", scan)
    BidiComponentManager().discover_and_register_components(start_file_watching=False)
    scan.assert_called_once_with()
