"""The audit log of people: one chain, whoever writes at once, and whatever is changed in it is named."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from tracking.access import Person
from tracking.storage.database import Database
from tracking.storage.facts import FactKey
from tracking.storage.maintenance.verify import verify
from tracking.storage.tables import FACTS
from tracking.storage.team import audit_log
from tracking.storage.team.audit_log import AuditKind, record_act
from tracking.storage.team.tables import AUDIT_LOG

ANN = Person("Ann")


def write(store: Database, now: datetime, number: int) -> int:
    act = partial(record_act, person=ANN, kind=AuditKind.EXPORTED, now=now, detail={"orders": number, "none": None})
    return store.write(act)


def change(store: Database, statement: Any) -> None:
    store.write(lambda connection: connection.execute(statement))


def test_entries_written_at_once_make_one_chain(store: Database, now: datetime) -> None:
    with ThreadPoolExecutor(4) as pool:
        numbers = sorted(pool.map(partial(write, store, now), range(20)))
    assert numbers == list(range(1, 21))
    assert verify(store) == []
    with store.read() as connection:
        rows = connection.execute(sa.select(AUDIT_LOG).order_by(AUDIT_LOG.c.seq)).mappings().all()
        assert audit_log.head_of(connection) == (20, audit_log.entry_hash(rows[-1]))
    assert [row["previous"] for row in rows[1:]] == [audit_log.entry_hash(row) for row in rows[:-1]]
    assert rows[0]["previous"] == audit_log.FIRST_HASH
    assert "none" not in rows[0]["detail"]


@pytest.mark.parametrize(
    ("statement", "difference"),
    [
        (sa.update(AUDIT_LOG).where(AUDIT_LOG.c.seq == 2).values(person="Bob"), "entry 3 (exported) does not fit"),
        (sa.update(AUDIT_LOG).where(AUDIT_LOG.c.seq == 4).values(detail={}), "it was changed at its end"),
        (sa.delete(AUDIT_LOG).where(AUDIT_LOG.c.seq == 2), "entry 2 is missing"),
        (sa.delete(AUDIT_LOG).where(AUDIT_LOG.c.seq == 4), "ends at entry 3 where 4 were written"),
        (sa.delete(FACTS).where(FACTS.c.key == FactKey.AUDIT_LOG), "ends at entry 4 where 0 were written"),
    ],
)
def test_whatever_is_changed_in_it_is_named(store: Database, now: datetime, statement: Any, difference: str) -> None:
    for number in range(4):
        write(store, now, number)
    change(store, statement)
    [found] = verify(store)
    assert difference in found
