"""That each launcher tells what is wrong at its start; what it tells is judged where settings and stores are read."""

import pytest
from processes.children import Child, Nursery, free_port, get, provider_settings, until
from processes.over_http import fact, made_up, rows, store_of, submit

from tracking.storage.maintenance.verify import verify
from tracking.storage.sqlite.driver import dbapi

CANARY = "canary-4711"
WAYS = ["worker", "streamlit", "uvicorn"]


def started(children: Nursery, way: str, **settings: object) -> Child:
    match way:
        case "worker":
            return children.worker(settings)
        case "streamlit":
            return children.streamlit(settings)
        case _:
            return children.uvicorn(settings)


def refused(child: Child) -> str:
    """What it said before it ended; never a traceback, never a secret."""
    assert child.ends() != 0, child.said
    said = child.said
    assert "Traceback" not in said
    assert "canary" not in said.lower()
    return said


@pytest.mark.parametrize("way", WAYS)
def test_all_wrong_settings_are_told_at_once_without_their_values(way: str, children: Nursery) -> None:
    child = started(
        children,
        way,
        API_MAX_RATE="abc",
        ROLES="poller,cook",
        DATABASE_URL=f"mysql://root:{CANARY}@host/name",
        WEBHOOK_SECRET="canary",
        POLL_FLOOR=-1,
        PUBLIC_URL=f"https://user:{CANARY}@console.example",
        API_BASE_URL=f"https://provider.example/?key={CANARY}",
    )
    said = refused(child)
    for name in ("API_MAX_RATE", "ROLES", "DATABASE_URL", "WEBHOOK_SECRET", "POLL_FLOOR", "PUBLIC_URL", "API_BASE_URL"):
        assert f"TRACKING_{name}: " in said
    assert "cook" in said
    assert child.ends() == 2 or way == "streamlit"


def test_a_file_that_is_no_store_of_ours_is_told_and_left_as_it_is(children: Nursery) -> None:
    file = children.folder / "tracking.db"
    file.write_text("Dear diary, this is no database.\n" * 100)
    before = file.read_bytes()
    child = children.uvicorn()
    assert "not a SQLite database" in refused(child)
    assert child.ends() == 1
    assert file.read_bytes() == before


def submitted(children: Nursery, count: int) -> None:
    with store_of(children.database_url) as store:
        submit(store, made_up(count))


def test_a_console_runs_without_its_provider_and_sends_once_that_appears(children: Nursery) -> None:
    port = free_port()
    settings = provider_settings(f"http://127.0.0.1:{port}")
    worker = children.worker(settings).ready()
    submitted(children, 12)
    with store_of(children.database_url) as store:
        until("word of the provider's absence", lambda: fact(store, "client").get("failing_since"), within=20)
        attempted = "a first attempt at sending"
        until(attempted, lambda: any(row["event_count"] > 1 for row in rows(store).values()), within=20)
        told = fact(store, "client")
        assert told["last_error"] == (
            "NotSent: no connection to the provider: connection refused: nothing listens at that address and port"
        )
        assert {row["state"] for row in rows(store).values()} == {"Queued"}
        answered = get(f"{worker.url}/healthz")
        assert answered is not None
        assert answered.status_code == 200
        children.sandbox(port=port)
        until("all orders to be done", lambda: states(children) == ["Completed"] * 12, within=60)
        until("word of the recovery", lambda: fact(store, "client").get("failing_since") is None, within=20)
    assert worker.stop() == 0
    assert "Traceback" not in worker.said
    assert "never awaited" not in worker.said


def states(children: Nursery) -> list[str]:
    with store_of(children.database_url) as store:
        return sorted(row["state"] for row in rows(store).values())


@pytest.mark.long
def test_refused_credentials_lose_nothing_and_are_told(children: Nursery, sandbox: Child) -> None:
    right = provider_settings(sandbox.url)
    worker = children.worker(right | {"API_ACCESS_TOKEN": CANARY}).ready()
    submitted(children, 24)
    with store_of(children.database_url) as store:
        until("word of the refusal", lambda: fact(store, "client").get("failing_since"), within=20)
        until("a first attempt", lambda: any(row["event_count"] > 1 for row in rows(store).values()), within=20)
        assert fact(store, "client")["last_error"].startswith("CredentialsRefused")
    assert states(children) == ["Queued"] * 24
    answered = get(f"{worker.url}/healthz")
    assert answered is not None
    assert answered.status_code == 200
    assert worker.stop() == 0
    assert CANARY not in worker.said
    assert CANARY.encode() not in (children.folder / "tracking.db").read_bytes()
    children.worker(right)
    # What was tried with the wrong credentials waits for a minute; the rest goes at once.
    until("what was not tried yet to be done", lambda: states(children).count("Completed") >= 16, within=40)
    assert set(states(children)) <= {"Completed", "Queued", "Sending", "Pending", "Processing"}
    assert len(states(children)) == 24


def test_a_command_that_only_reads_needs_no_write_lock(children: Nursery) -> None:
    other = dbapi.connect(children.folder / "tracking.db", isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        listed = children.tracking("orders", "--json")
    finally:
        other.close()
    assert listed.process.returncode == 0
    assert listed.said.endswith("tracking.db\n[]\n")


def test_a_store_locked_by_another_process_is_waited_for(children: Nursery, sandbox: Child) -> None:
    port = free_port()
    worker = children.worker(provider_settings(sandbox.url) | {"PUBLIC_URL": f"http://127.0.0.1:{port}"}, port=port)
    worker.ready()
    submitted(children, 12)
    until("the first order done", lambda: "Completed" in states(children), within=30)
    other = dbapi.connect(children.folder / "tracking.db", isolation_level=None, timeout=20)
    try:
        other.execute("BEGIN EXCLUSIVE")
        until("a word about the lock", lambda: "locked by another process" in worker.said, within=30)
        other.execute("COMMIT")
    finally:
        other.close()
    # What had just been claimed when the lock came is sent once its lease of 70 s is over.
    until("all orders to be done", lambda: states(children) == ["Completed"] * 12, within=120)
    with store_of(children.database_url) as store:
        # What could not be stored was answered with 503, and came again.
        until("every webhook", lambda: {row["notice"] for row in rows(store).values()} == {"confirmed"}, within=30)
    assert worker.ready().stop() == 0
    assert "Traceback" not in worker.said
    with store_of(children.database_url) as store:
        assert verify(store) == []
