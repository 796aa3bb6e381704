import asyncio
import logging
from datetime import timedelta

import pytest
from fakes import NOW

from tracking.errors import StoreBusy
from tracking.provider.http.findings import FINDINGS_AT_MOST, Findings, place_of
from tracking.storage import facts
from tracking.storage.database import Database
from tracking.storage.facts import FactKey

ODD = "CurrencyCode is not a text but an object"


def stored(store: Database) -> dict[str, dict[str, object]]:
    with store.read() as connection:
        fact = facts.get_fact(connection, FactKey.FINDINGS)
    return fact.value if fact else {}


def test_each_kind_is_logged_and_stored_once_however_often_it_comes(
    store: Database, caplog: pytest.LogCaptureFixture
) -> None:
    findings = Findings()
    with caplog.at_level(logging.WARNING, logger="tracking"):
        for second in range(120):
            findings.note("order", [ODD], NOW + timedelta(seconds=second))
            asyncio.run(findings.flush(store, NOW + timedelta(seconds=second)))
    assert [record.getMessage() for record in caplog.records] == [
        f"the provider departs from its contract: order: {ODD}"
    ]
    last = NOW + timedelta(seconds=60)
    assert stored(store) == {
        f"order: {ODD}": {"first": NOW.isoformat(), "last": last.isoformat(), "times": 61},
    }


def test_a_restart_and_another_process_add_to_what_is_stored_and_log_it_no_more(
    store: Database, caplog: pytest.LogCaptureFixture
) -> None:
    for hour in range(2):
        findings = Findings()
        findings.note("order", [ODD], NOW + timedelta(hours=hour))
        asyncio.run(findings.flush(store, NOW + timedelta(hours=hour)))
    assert len(caplog.records) == 1
    assert stored(store)[f"order: {ODD}"]["times"] == 2


def test_what_is_stored_is_bounded(store: Database) -> None:
    findings = Findings()
    findings.note("order", [f"field {number} is odd" for number in range(2 * FINDINGS_AT_MOST)], NOW)
    asyncio.run(findings.flush(store, NOW))
    other = Findings()
    other.note("token", ["ExpiresIn is not a number"], NOW)
    asyncio.run(other.flush(store, NOW))
    assert len(stored(store)) == FINDINGS_AT_MOST


def test_nothing_is_lost_while_the_store_cannot_be_written(store: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async def busy(_job: object) -> None:
        raise StoreBusy("locked")

    findings = Findings()
    findings.note("order", [ODD], NOW)
    with monkeypatch.context() as patch:
        patch.setattr(store, "run", busy)
        with pytest.raises(StoreBusy):
            asyncio.run(findings.flush(store, NOW))
    findings.note("order", [ODD], NOW)
    asyncio.run(findings.flush(store, NOW))
    assert stored(store)[f"order: {ODD}"]["times"] == 2


def test_an_answer_is_named_by_what_it_is_of() -> None:
    paths = ("/v1/Orders/BLK-1", "/v1/Orders", "/v1/Tokens", "/v1/Products", "/v1/AccountBalance", "/")
    assert [place_of(path) for path in paths] == ["order", "order", "token", "product", "answer", "answer"]
