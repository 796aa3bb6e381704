import gc
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from processes.children import ROOT, Nursery

from tracking.startup import LATER_IMPORTS_SECONDS, YOUNG_OBJECTS, garbage_collection_paused

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


def test_what_a_server_was_started_with_is_never_looked_through_for_garbage_again() -> None:
    code = """
import asyncio, contextlib, gc, signal
from tracking.app.cli import servers
async def serves_nothing(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        before = gc.get_freeze_count()
        asyncio.get_running_loop().call_later(0.05, lambda: print(before, gc.get_freeze_count(), gc.get_threshold()[0]))
        asyncio.get_running_loop().call_later(0.1, signal.raise_signal, signal.SIGINT)
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
servers.serve(serves_nothing, "127.0.0.1", 0, contextlib.nullcontext(), "nothing")"""
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=30)
    before, afterwards, threshold = map(int, told.stdout.split())
    assert before == 0
    assert afterwards > 10_000
    assert threshold == YOUNG_OBJECTS


def test_nor_is_what_a_console_was_started_with_or_imports_within_its_first_minute(tmp_path: Path) -> None:
    code = f"""
import asyncio, contextlib, gc
import dashboard, virtual
dashboard.backend.lifespan = lambda application: contextlib.nullcontext()  # its loops have tests of their own
async def started_and_ended(loop):
    events, answers = asyncio.Queue(), asyncio.Queue()
    running = loop.create_task(dashboard.app({{"type": "lifespan", "state": {{}}}}, events.get, answers.put))
    before, imported = gc.get_freeze_count(), [[] for _ in range(100_000)]
    events.put_nowait({{"type": "lifespan.startup"}})
    assert (await answers.get())["type"] == "lifespan.startup.complete"
    afterwards, threshold = gc.get_freeze_count(), gc.get_threshold()[0]
    imported_later = [[] for _ in range(100_000)]
    await asyncio.sleep({LATER_IMPORTS_SECONDS + 1})
    print(afterwards - before, gc.get_freeze_count() - afterwards, threshold)
    events.put_nowait({{"type": "lifespan.shutdown"}})
    await running
virtual.run(started_and_ended)"""
    environment = Nursery(tmp_path).environment({})
    environment["PYTHONPATH"] += os.pathsep + str(ROOT / "tests" / "scenarios")
    command = [sys.executable, "-c", code]
    told = subprocess.run(command, check=True, capture_output=True, text=True, env=environment, timeout=60)
    at_its_start, later, threshold = map(int, told.stdout.split())
    assert at_its_start > 100_000
    assert later > 100_000
    assert threshold == YOUNG_OBJECTS


def test_whatever_the_import_comes_to_garbage_is_collected_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc, "freeze", lambda: None)  # what a test leaves behind is to be found by the next one
    with pytest.raises(ModuleNotFoundError), garbage_collection_paused():
        importlib.import_module("gc" if gc.isenabled() else "no_such_module")
    assert gc.isenabled()
