"""A process in which several people submit orders at once, one by one, until it is told to stop or killed.

    python tests/processes/submitting.py DATABASE_URL PREFIX ORDERS_A_SECOND

Writes the PONumber of an order to stdout once it was acknowledged. Somebody whose store is busy tries again.
"""

import os
import random
import signal
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tracking.access import Person
from tracking.errors import StoreBusy
from tracking.orders.model import OrderRequest
from tracking.storage import database
from tracking.submissions import submit
from tracking.submissions.requests import read_request

PEOPLE = 3


def _request(po_number: str, rng: random.Random) -> OrderRequest:
    line = {"ProductId": "CVS", "Value": 10, "Quantity": 1}
    lines = [line] * rng.choice((1, 1, 2, 6))
    return read_request({"Type": "Links", "PONumber": po_number, "LineItems": lines})


def _submit(store: database.Database, name: str, rate: float, stopped: threading.Event) -> None:
    rng, number, waiting = random.Random(name), 0, ""
    while not stopped.wait(rng.expovariate(rate / PEOPLE)):
        number += not waiting
        po_number = waiting or f"{name}-{number:04d}"
        try:
            submit.submit(store, [_request(po_number, rng)], source="form", by=Person("tester"), now=datetime.now(UTC))
        except StoreBusy:
            waiting = po_number
            continue
        waiting = ""
        os.write(1, f"{po_number}\n".encode())


def main() -> None:
    """Submits until SIGTERM."""
    url, prefix, rate = sys.argv[1], sys.argv[2], float(sys.argv[3])
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    store = database.connect(url)
    people = [
        threading.Thread(target=_submit, args=(store, f"{prefix}-{person}", rate, stopped)) for person in range(PEOPLE)
    ]
    for each in people:
        each.start()
    for each in people:
        each.join()
    store.close()


if __name__ == "__main__":
    main()
