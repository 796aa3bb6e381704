"""The process that loses its power: the product's own store under load, written to by several threads.

    python workload.py FOLDER DURABILITY ORDERS

Runs with the shadow preloaded (see `losses`). Every thread places orders and hands in callbacks as the product does
and writes a line to `FOLDER/acknowledged` once the store has answered.
"""

import hashlib
import os
import random
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from powerloss.durabilities import DURABILITIES  # noqa: E402 - found through the line above

from tracking import ingest  # noqa: E402 - the same
from tracking.forecasting import planner  # noqa: E402 - the same
from tracking.forecasting.waits import Policy  # noqa: E402 - the same
from tracking.orders.model import Line, OrderRequest, Witness  # noqa: E402 - the same
from tracking.orders.observations import Attempted, Observation  # noqa: E402 - the same
from tracking.provider.webhook_bodies import WebhookCall  # noqa: E402 - the same
from tracking.settings import loading  # noqa: E402 - the same
from tracking.settings.values import Settings  # noqa: E402 - the same
from tracking.storage import database, engines  # noqa: E402 - the same
from tracking.storage.sqlite.driver import dbapi  # noqa: E402 - the same

THREADS = 6
ACKNOWLEDGED = "acknowledged"
# So small that a transaction of a few orders is written to the file before its commit, as a large one always is.
PAGES_IN_MEMORY = 24
PLANNER = planner.PlanningContext(Policy(), random.Random(1))


def settings_at(folder: Path) -> Settings:
    """The settings of a store in the folder `data` there, whose secrets are made on first start."""
    url = f"sqlite:///{folder / 'data' / 'tracking.db'}"
    return loading.load(database_url=url, webhook_secret=None, claims_key=None)  # whatever a `.env` here says


def secrets_of(loaded: Settings) -> list[str]:
    """What is acknowledged of the secrets made on first start: addresses and claim data are made with them."""
    made = {"webhooks": loaded.webhook_secrets()[0], "claims": loaded.claims_keys()[0]}
    return [f"secret of {what} {hashlib.sha256(secret.encode()).hexdigest()}" for what, secret in made.items()]


def _work(store: database.Database, thread: int, orders: int, noted: int) -> None:
    for number in range(orders):
        count = 1 + number * 7 % 23
        lines = tuple(Line(position, "CVS", 1000, 1) for position in range(1, count + 1))
        po_number = f"P-{thread}-{number:04d}"
        _follow(store, OrderRequest(po_number, "Links", lines, {"LineItems": [{}] * count}), noted)


def _follow(store: database.Database, request: OrderRequest, noted: int) -> None:
    """Places the order, records an attempt and a callback for it; every step is acknowledged on its own."""
    now, po_number = datetime.now(UTC), request.po_number
    order_id = store.write(lambda connection: ingest.place(connection, request, source="form", actor=None, now=now))
    os.write(noted, f"order {po_number}\n".encode())
    sent = Observation(Witness.US, now, now, Attempted(1))
    store.write(lambda connection: ingest.observe(connection, order_id, sent, PLANNER))
    os.write(noted, f"attempt {po_number}\n".encode())
    called = WebhookCall("FulfillmentComplete", None, po_number, now, f"digest of {po_number}")
    store.write(lambda connection: ingest.receive_webhook(connection, called, 100, now, PLANNER))
    os.write(noted, f"callback {called.digest}\n".encode())


def main() -> None:
    """Works until every thread has placed its orders."""
    folder, name, orders = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    DURABILITIES[name].plant()
    set_up = engines._set_up_writer

    def with_few_pages(connection: dbapi.Connection, _record: object) -> None:
        set_up(connection, _record)
        connection.execute(f"PRAGMA cache_size={PAGES_IN_MEMORY}")

    engines._set_up_writer = with_few_pages
    noted = os.open(folder / ACKNOWLEDGED, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    loaded = settings_at(folder)
    for line in secrets_of(loaded):
        os.write(noted, f"{line}\n".encode())
    store = database.connect(loaded.database_url)
    threads = [threading.Thread(target=_work, args=(store, each, orders, noted)) for each in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.close()


if __name__ == "__main__":
    main()
