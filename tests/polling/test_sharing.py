"""Several workers on one store: each weighs its own part, and what another leaves behind."""

from datetime import datetime, timedelta
from functools import partial

import numpy as np
import pytest

from tracking.polling.due_orders import DueOrders
from tracking.polling.selection import PAGE, Candidates
from tracking.polling.sharing import FEW_URGENT, PATIENCE, own_part
from tracking.storage import facts
from tracking.storage.database import Database

OWNERS = ("host/1/a", "host/2/b", "host/3/c")


def orders(count: int, waited: float = 0.0, urgent: int = 0) -> DueOrders:
    """Due orders with ascending ids; the first ones urgent."""
    ones, ids = np.ones(count), np.arange(1, count + 1)
    candidates = Candidates(ones, ones, ones, np.ones(count, dtype=bool), ids <= urgent)
    classes = np.array(["Links/1"] * count, dtype=object)
    return DueOrders(ids, candidates, classes, np.zeros(count, dtype=bool), ones, ones * waited, waited)


def test_who_is_alone_weighs_all() -> None:
    due = orders(10)
    assert own_part(due, OWNERS[0], ()) is own_part(due, OWNERS[0], OWNERS[:1]) is due


@pytest.mark.parametrize("waited", [0.0, 1000.0])
def test_each_order_is_weighed_by_one_worker_and_neighbours_by_the_same(waited: float) -> None:
    due = orders(PAGE * 7, waited)
    parts = [own_part(due, owner, OWNERS) for owner in OWNERS]
    assert sorted(np.concatenate([part.ids for part in parts])) == list(due.ids)
    assert all(len(part.ids) == len(part.candidates) == len(part.waited) > 0 for part in parts)
    assert all(len({owner for owner, part in enumerate(parts) if page in part.ids // PAGE}) == 1 for page in range(7))


def test_what_its_worker_leaves_behind_is_anybodys() -> None:
    due = orders(PAGE * 4)
    others = own_part(due, OWNERS[0], OWNERS[:2]).ids
    left = int(next(each for each in due.ids if each not in others))
    due.waited[left - 1] = PATIENCE + 0.1
    assert left in own_part(due, OWNERS[0], OWNERS[:2]).ids


@pytest.mark.parametrize(("urgent", "shared"), [(FEW_URGENT, FEW_URGENT), (FEW_URGENT + 1, 0)])
def test_a_few_urgent_orders_are_anybodys_at_once(urgent: int, shared: int) -> None:
    due = orders(PAGE * 2, urgent=urgent)
    first, second = (set(own_part(due, owner, OWNERS[:2]).ids) for owner in OWNERS[:2])
    assert len(first & second) == shared


def test_a_heartbeat_tells_which_processes_live(store: Database, now: datetime) -> None:
    for seconds, owner in ((0, "a"), (10, "b"), (20, "c")):
        at = now + timedelta(seconds=seconds)
        store.write(partial(facts.beat, loop="poller", owner=owner, value={"pid": 1}, now=at))
    with store.read() as connection:
        stored = facts.get_fact(connection, facts.heartbeat_key("poller"))
    assert stored is not None
    assert stored.value["pid"] == 1
    assert set(facts.living_owners(stored.value, at)) == {"b", "c"}
