"""A process is killed amid submissions by the API: whoever repeats them under their keys orders nothing twice."""

import random
import threading
import time
from collections.abc import Iterator
from itertools import chain
from typing import Any

import httpx
import pytest
from processes.children import Child, Nursery, free_port, provider_settings, until
from processes.over_http import rows, store_of

from tracking.access import Access, Person
from tracking.api.callers.tokens import make_token
from tracking.orders.observations import utc_now
from tracking.storage.maintenance.verify import verify

PLACED, CLIENTS, KILLS = 160, 4, 3


def _answers(url: str, token: str, keys: list[str], known: dict[str, Any]) -> None:
    """Submits each order under its key, until nobody answers any more."""
    with httpx.Client(headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=60) as client:
        for key in keys:
            line = {"ProductId": "CVS", "Value": 10, "Quantity": 1}
            request = client.build_request(
                "POST",
                f"{url}/api/v1/orders",
                json={"Type": "Links", "LineItems": [line]},
                headers={"Idempotency-Key": key},
            )
            try:
                while (answer := client.send(request)).status_code == 429:
                    time.sleep(float(answer.headers["retry-after"]))
            except httpx.TransportError:
                return
            assert answer.status_code == 201, answer.text
            assert known.setdefault(key, answer.json()) == answer.json(), "another answer to the same request"


def _kill(life: Child, known: dict[str, Any], number: int) -> None:
    """Kills the life with that number within its share of the answers, however fast the machine is."""
    chosen, share = random.Random(number), PLACED // (KILLS + 1)
    least = number * share + chosen.randint(5, share // 2)
    until(f"{least} answers", lambda: len(known) >= least, within=120, every=0.005)
    time.sleep(chosen.uniform(0, 0.05))  # not always right after an answer
    life.kill()


def _lives(children: Nursery, known: dict[str, Any]) -> Iterator[Child]:
    """One worker after the other, each killed while it answers but for the last."""
    nowhere = provider_settings(f"http://127.0.0.1:{free_port()}")
    for number in range(KILLS + 1):
        life = children.worker(nowhere | {"ROLES": "poller"}).ready()
        if number < KILLS:
            threading.Thread(target=_kill, args=(life, known, number)).start()
        yield life


@pytest.mark.long
def test_what_is_repeated_under_its_key_is_one_order_whatever_was_killed(children: Nursery) -> None:
    known: dict[str, Any] = {}
    lives = _lives(children, known)
    first = next(lives)
    with store_of(children.database_url) as store:
        token = make_token(store, "killed", Access.OPERATOR, by=Person("ann"), now=utc_now())
        for life in chain((first,), lives):  # the next one starts once the one before it was killed
            keys = [[f"key-{number}" for number in range(client, PLACED, CLIENTS)] for client in range(CLIENTS)]
            threads = [threading.Thread(target=_answers, args=(life.url, token, mine, known)) for mine in keys]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            if life is first:
                assert 0 < len(known) < PLACED, "the kill came too late, or too soon, to show anything"
        assert len(known) == PLACED, [life.said[-500:] for life in children.children]
        numbers = {order["po_number"] for answer in known.values() for order in answer["orders"]}
        assert numbers == set(rows(store))
        assert len(numbers) == PLACED
        assert verify(store) == []
