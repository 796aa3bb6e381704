from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from histories import History

from tracking.app import drafts
from tracking.storage.database import Database
from tracking.storage.tables import DRAFTS

ANN, BOB = drafts.owner_of("person", "ann@example.com"), drafts.owner_of("browser", "ann@example.com")


def content(po_number: str = "FT-1", **more: Any) -> dict[str, Any]:
    return {"po_number": po_number, "lines": [{"ProductId": "CVS", "Value": 10, "Quantity": 1}], "fields": {}} | more


def owners(store: Database) -> set[str]:
    with store.read() as connection:
        return set(connection.execute(sa.select(DRAFTS.c.owner)).scalars())


def test_a_draft_is_its_owners_alone_and_the_newest_counts(store: Database, now: datetime) -> None:
    assert drafts.save_draft(store, ANN, content("FT-1"), now)
    assert drafts.save_draft(store, ANN, content("FT-2"), now + timedelta(minutes=1))
    assert drafts.load_draft(store, ANN, now) == drafts.Draft(now + timedelta(minutes=1), content("FT-2"))
    assert drafts.load_draft(store, BOB, now) is None
    drafts.delete_draft(store, ANN, now)
    assert drafts.load_draft(store, ANN, now) is None


def test_who_owns_a_draft_cannot_be_read_in_the_store() -> None:
    assert ANN != BOB
    assert "ann" not in ANN


def test_a_draft_ends_after_its_days(store: Database, now: datetime) -> None:
    drafts.save_draft(store, ANN, content(), now)
    assert drafts.load_draft(store, ANN, now + drafts.KEEP - timedelta(seconds=1))
    assert drafts.load_draft(store, ANN, now + drafts.KEEP) is None
    assert store.write(lambda connection: drafts.delete_old_drafts(connection, now + drafts.KEEP)) == 1
    assert owners(store) == set()


def test_of_too_many_drafts_the_oldest_go(store: Database, now: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drafts, "DRAFTS_STORED", 2)
    for number, owner in enumerate("abc"):
        drafts.save_draft(store, owner, content(), now + timedelta(minutes=number))
    assert owners(store) == {"b", "c"}


def test_what_is_too_large_is_not_stored_and_nor_is_what_it_grew_from(store: Database, now: datetime) -> None:
    drafts.save_draft(store, ANN, content(), now)
    assert not drafts.save_draft(store, ANN, content(note="x" * drafts.MAX_BYTES), now)
    assert owners(store) == set()


def test_a_draft_whose_order_was_handed_in_is_not_offered_again(store: Database) -> None:
    history = History(store)
    drafts.save_draft(store, ANN, content("FT-1"), history.at)
    history.place("FT-1")
    assert drafts.load_draft(store, ANN, history.at) is None
