"""What people search for and take along is in the audit log once, and what they typed is not."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from tracking.access import Access, Person
from tracking.reports.order_list.filters import Filters
from tracking.storage.database import Database
from tracking.storage.maintenance.verify import verify
from tracking.storage.team.tables import AUDIT_LOG
from tracking.team import disclosures

ANN, VIC = Person("ann@example.com", signed_in=True), Person("vic@example.com", Access.VIEWER, signed_in=True)
SECRET, OTHER = "a secret of sixteen characters", "another secret that is long enough"
TYPED = "kanari-email-1@example.com"


def entries(store: Database) -> list[Any]:
    with store.read() as connection:
        return list(connection.execute(sa.select(AUDIT_LOG).order_by(AUDIT_LOG.c.seq)).mappings())


def test_a_search_is_recorded_as_a_keyed_hash_and_its_repetition_is_not(store: Database, now: datetime) -> None:
    def search(text: str, seconds: int, by: Person = ANN, secret: str = SECRET, **more: Any) -> None:
        at = now + timedelta(seconds=seconds)
        disclosures.record_search(store, text, 3, by=by, now=at, secret=secret, **more)

    search(TYPED, 0)
    search(f" {TYPED.upper()} ", 30)  # the same text, within a minute
    search("other", 40)
    search(TYPED, 50, by=VIC)
    search(TYPED, 55, order_id=7)
    search(TYPED, 61, more=True)
    rows = entries(store)
    assert [(row["person"], row["order_id"]) for row in rows] == [
        (ANN.name, None), (ANN.name, None), (VIC.name, None), (ANN.name, 7), (ANN.name, None),
    ]  # fmt: skip
    hashes = [row["detail"]["text"] for row in rows]
    assert hashes[0] == hashes[2] == hashes[4] != hashes[1]
    assert rows[4]["detail"] == {"text": hashes[0], "hits": 3, "at_least": True}
    assert disclosures.text_hash(TYPED, OTHER) != hashes[0] == disclosures.text_hash(TYPED, SECRET)
    assert "kanari" not in repr(rows).casefold()
    assert verify(store) == []


def test_an_export_says_what_was_taken_by_which_filter(store: Database, now: datetime) -> None:
    filters = Filters(
        text=TYPED, view="late", states=("Completed", TYPED), created_from=datetime(2026, 11, 1, tzinfo=UTC),
        min_minor=1250, older_than=timedelta(hours=2), only=("a", "b"), po_prefix=TYPED, sort="value", page=3,
    )  # fmt: skip
    for seconds in (0, 30, 90):
        at = now + timedelta(seconds=seconds)
        disclosures.record_export(store, "orders", by=ANN, now=at, secret=SECRET, filters=filters, form="csv", rows=9)
    row, again = entries(store)
    typed = disclosures.text_hash(TYPED, SECRET)
    assert row["detail"] == again["detail"] == {
        "what": "orders", "form": "csv", "rows": 9, "selected": 2, "order_ids": [],
        "filter": {
            "q": typed, "view": "late", "state": ["Completed", typed], "from": "2026-11-01",
            "min": "12.50", "older": "7200s", "prefix": typed, "sort": "value",
        },
    }  # fmt: skip
    assert "kanari" not in repr(row)


def test_a_sign_in_is_recorded_once_however_often_it_is_shown(store: Database, now: datetime) -> None:
    issued = (now - timedelta(hours=5)).timestamp()
    for at, stamp in ((now, issued), (now + timedelta(hours=2), issued), (now + timedelta(hours=3), issued + 3600)):
        assert disclosures.record_sign_in(store, stamp, by=ANN, now=at)
    assert [row["kind"] for row in entries(store)] == ["signed in"] * 2


def test_a_sign_in_that_two_processes_see_at_once_is_recorded_once(store: Database, now: datetime) -> None:
    with closing(Database(store.url)) as other, ThreadPoolExecutor(4) as pool:
        list(
            pool.map(
                lambda each: disclosures.record_sign_in(each, now.timestamp(), by=ANN, now=now), 4 * [store, other]
            )
        )
    assert len(entries(store)) == 1
    assert verify(store) == []


def test_refused_sign_ins_are_bounded_and_name_nobody(
    store: Database, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disclosures, "REFUSALS_AN_HOUR", 2)
    for number in range(4):
        address = f"{number}-{TYPED}"
        why = f"your address {address} is on neither list"
        disclosures.record_refusal(store, {"email": address}, why, now=now + timedelta(minutes=number))
    rows = entries(store)
    assert [row["detail"]["address"] for row in rows] == ["0***@example.com", "1***@example.com"]
    assert "kanari" not in repr(rows)
