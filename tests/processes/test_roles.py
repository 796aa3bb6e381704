import contextlib
import json
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from processes.children import (
    ROOT,
    TRACKING,
    Child,
    Nursery,
    free_port,
    get,
    nursery,
    provider_settings,
    until,
    write_orders,
)
from processes.over_http import documents, made_up, rows, store_of, submit
from prometheus_client.parser import text_string_to_metric_families

from tracking.storage.sqlite.driver import dbapi
from tracking.webhooks import addresses

LOOPS = {"webhooks", "poller", "sender", "deliveries", "jobs"}


def ask(console: Child, path: str) -> httpx.Response:
    answered = get(console.url + path)
    assert answered is not None, f"{path} breaks off: {console.said[-2000:]}"
    return answered


def health(console: Child) -> Any:
    return ask(console, "/healthz").json()


def started(children: Nursery, way: str, folder: Path) -> Child:
    match way:
        case "streamlit run /from/elsewhere/dashboard.py":
            return children.streamlit(cwd=folder, script=str(ROOT / "dashboard.py")).ready()
        case _:
            return children.uvicorn().ready()


@pytest.mark.parametrize(
    "way",
    ["streamlit run /from/elsewhere/dashboard.py", "uvicorn dashboard:app"],
)
def test_one_command_starts_pages_receiver_poller_and_sender(way: str, children: Nursery, tmp_path: Path) -> None:
    (children.folder / "tracking.db").unlink()
    console = started(children, way, tmp_path)
    page = ask(console, "/")
    assert page.status_code == 200
    assert page.headers["Content-Type"].startswith("text/html")
    assert "<html" in page.text
    assert set(health(console)["loops"]) == LOOPS
    until("orders of the embedded sandbox", lambda: "tracking_orders{" in ask(console, "/metrics").text, within=20)
    families = {family.name for family in text_string_to_metric_families(ask(console, "/metrics").text)}
    assert {"tracking_orders", "tracking_callbacks", "tracking_outbox_waiting"} <= families
    secret = "canary" + "A" * 37
    for token in ("wrong", "A" * 43, secret):
        address = f"{console.url}/webhooks/fulfillment/{token}"
        refused = httpx.post(address, json={"PONumber": "T-00001"}, trust_env=False)
        assert (refused.status_code, refused.text) == (404, "")
    assert health(console)["status"] == "ok"
    console.stop()
    assert secret not in console.said, "no log holds the address of a webhook"


SECRET = "canary-of-a-webhook-secret"


@dataclass
class Pair:
    """A worker that logs all it can beside a console of pages, and what they brought to an end."""

    pages: Child
    worker: Child
    submitted: Child
    documents: list[dict[str, Any]]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, migrated_file: Path) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("pair")
    shutil.copy(migrated_file, folder / "tracking.db")
    with nursery(folder) as children:
        known, port = provider_settings(children.sandbox().url), free_port()
        pages = children.uvicorn(known | {"ROLES": "pages"})
        own = {"PUBLIC_URL": f"http://127.0.0.1:{port}", "WEBHOOK_SECRET": SECRET, "ROLES": "webhooks,poller,sender"}
        worker = children.serve([*TRACKING, "--verbose", "worker", "--port", str(port)], port, known | own).ready()
        pages.ready()
        made = documents(4)
        file = write_orders(folder / "orders.json", made)
        yield Pair(pages, worker, children.tracking("submit", str(file), "--wait", "30", "--json"), made)


def test_a_worker_completes_what_is_submitted_beside_a_console_of_pages(pair: Pair) -> None:
    assert pair.submitted.ends() == 0, pair.submitted.said
    assert {order["state"] for order in json.loads(pair.submitted.said[pair.submitted.said.index("[") :])} == {
        "Completed"
    }
    shown = health(pair.pages)
    assert shown["status"] == "ok"
    assert shown["loops"] == {}
    assert shown["roles"] == ["pages"]
    assert not shown["sandbox"]
    assert set(health(pair.worker)["loops"]) == LOOPS
    assert ask(pair.worker, "/").status_code == 404
    assert 'tracking_orders{state="Completed"} 4.0' in ask(pair.pages, "/metrics").text
    assert httpx.post(f"{pair.pages.url}/webhooks/fulfillment/wrong", trust_env=False).status_code in {404, 405}


def test_no_log_of_a_worker_holds_a_secret_a_recipient_or_a_claim(pair: Pair) -> None:
    worker = pair.worker
    until("a webhook", lambda: "webhook outcome=accepted" in worker.said, within=20)
    assert "started roles=" in worker.said, "it logs at all"
    told = [SECRET, "Bearer ", "eyJ", "person1@example.com", "Ada Example", "claim.example.com", "ClaimLink"]
    told += [addresses.make_token(document["PONumber"], SECRET) for document in pair.documents]
    assert [word for word in told if word in worker.said] == []


def test_two_workers_on_one_store_place_every_order_once_within_one_budget(children: Nursery, sandbox: Child) -> None:
    """And each that is told to stop ends with its loops."""
    rate = 10
    for _ in range(2):
        children.worker(provider_settings(sandbox.url) | {"API_MAX_RATE": rate})
    for worker in children.children[-2:]:
        worker.ready()
        assert health(worker)["roles"] == ["poller", "sender", "webhooks"]
        assert ask(worker, "/metrics").status_code == 200
    with store_of(children.database_url) as store:
        submit(store, made_up(16))
        until("all orders", lambda: {row["state"] for row in rows(store).values()} == {"Completed"}, within=40)
    for worker in children.children[-2:]:
        assert worker.stop(signal.SIGTERM) in {0, -signal.SIGTERM}  # which writes the last calls down
        assert "Traceback" not in worker.said
        assert "never awaited" not in worker.said
    assert sorted(order["posts"] for order in json.loads(httpx.get(f"{sandbox.url}/sandbox/truth").text)) == [1] * 16
    with contextlib.closing(dbapi.connect(children.folder / "tracking.db")) as file:
        left = [datetime.fromisoformat(at) for (at,) in file.execute("SELECT at FROM exchanges ORDER BY at")]
    assert len(left) > 16
    assert min(later - earlier for earlier, later in zip(left, left[rate:], strict=False)) >= timedelta(seconds=1)
