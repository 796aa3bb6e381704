import random
from datetime import UTC, datetime
from pathlib import Path

from processes import kill9, victims
from processes.children import nursery

from tracking import ingest
from tracking.forecasting.planner import PlanningContext
from tracking.forecasting.waits import Policy
from tracking.provider.webhook_bodies import read_webhook_call
from tracking.storage import database
from tracking.storage.database import Database
from tracking.storage.sqlite.driver import dbapi
from tracking.submissions.requests import read_request

STATED = datetime(2020, 1, 1, 0, 0, 1, tzinfo=UTC)
PLANNER = PlanningContext(Policy(), random.Random(1))


def announced(provider_id: str | None) -> str:
    number = f'"OrderId":"{provider_id}",' if provider_id else ""
    return f'{{"Action":"FulfillmentComplete",{number}"PONumber":"S-1","Timestamp":"01/01/2020 12:00:01 AM"}}'


def provider_of(folder: Path, *taken: str) -> None:
    with dbapi.connect(folder / "provider.db") as ledger:
        ledger.execute("CREATE TABLE deliveries (body TEXT, outcome TEXT)")
        ledger.executemany("INSERT INTO deliveries VALUES (?, 'taken')", [(body,) for body in taken])
    ledger.close()


def call(store: Database, body: str) -> None:
    called = read_webhook_call(body.encode())
    store.write(lambda connection: ingest.receive_webhook(connection, called, 100, STATED, PLANNER))


def test_what_was_acknowledged_and_is_gone_is_named(sqlite_url: str, tmp_path: Path) -> None:
    store = database.connect(sqlite_url)
    provider_of(tmp_path, announced("BLK-1"))
    with nursery(tmp_path) as children:
        caller = victims.Caller(victims.Submitter(children, sqlite_url, 1), random.Random(1))
    caller.accepted.append(("S-1", STATED))
    lost = kill9._missing(store, ["S-1"], caller, tmp_path)
    assert [line.partition(":")[2] for line in lost] == [
        " acknowledged and not in the store",
        f" its callback of {STATED} was accepted and is not in the store",
        " the provider's callback was accepted and is not in the store",
    ]
    request = read_request(
        {"Type": "Links", "PONumber": "S-1", "LineItems": [{"ProductId": "CVS", "Value": 10, "Quantity": 1}]}
    )
    store.write(lambda connection: ingest.place(connection, request, source="form", actor=None, now=STATED))
    for number in (None, "BLK-1"):
        call(store, announced(number))
    assert kill9._missing(store, ["S-1"], caller, tmp_path) == []
    store.close()


def test_the_figures_fall_short_when_a_worker_is_slow() -> None:
    quick, slow = victims.Recovery("worker", 1.0, 1.1), victims.Recovery("worker", 2.4, 2.5)
    pages = victims.Recovery("pages", 9.0, 9.0)
    assert not kill9.Result(3, 0, [quick, quick, slow, pages, pages], []).slow
    assert kill9.Result(3, 0, [quick, slow, slow], []).slow
    assert not kill9.Result(3, 0, [quick, slow, slow], [], crowded=True).slow
