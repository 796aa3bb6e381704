"""The ledger of a store: what is in it, what is counted apart, how days and means come about, on both engines."""

import json
import random
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from histories import PLANNER, START, History

from tracking import ingest
from tracking.app.demonstration.seeding import seed
from tracking.orders.latency import LatencyBreakdown
from tracking.orders.model import Witness
from tracking.orders.observations import Answered, Attempted, Observation, Polled
from tracking.provider.webhook_bodies import WebhookCall
from tracking.reports import explanations, trends
from tracking.reports.insights import latency
from tracking.reports.order_page import verdicts
from tracking.storage.database import Database, connect
from tracking.storage.maintenance.verify import verify
from tracking.storage.tables import EVENTS

DAY = timedelta(days=1)


def report(store: Database, now: datetime, span: str) -> latency.LatencyReport:
    """The latency of the orders that were known complete in the span."""
    return latency.latency_report(store, trends.span_start(now, span))


def announce(history: History, po_number: str, stated_at: datetime | None, *, stamp: str = "") -> None:
    callback = WebhookCall("FulfillmentComplete", None, po_number, stated_at, f"digest-{po_number}{stamp}")
    history.database.write(lambda connection: ingest.receive_webhook(connection, callback, 120, history.at, PLANNER))


def look(history: History, po_number: str, status: str, *, took: float = 0.5) -> None:
    """A look that begins now; the time moves on to when its answer is there."""
    began, snapshot = history.at, history.snapshot(po_number, status)
    observation = Observation(Witness.POLL, began, history.wait(seconds=took), Polled(snapshot))
    number = history.numbers[po_number]
    history.database.write(lambda connection: ingest.observe(connection, number, observation, PLANNER))


def followed(history: History, po_number: str, *, notice: float | None = 70, stated: float | None = 65) -> int:
    """Accepted, seen open after a minute, announced and seen complete before 80 seconds are over."""
    number, began = history.place(po_number), history.at
    history.accept(po_number)
    history.at = began + timedelta(seconds=60)
    look(history, po_number, "Pending")
    if notice is not None:
        history.at = began + timedelta(seconds=notice)
        announce(history, po_number, None if stated is None else began + timedelta(seconds=stated))
    history.at = began + timedelta(seconds=79)
    look(history, po_number, "Completed", took=1)
    return number


def of(store: Database, order_id: int) -> LatencyBreakdown:
    with store.read() as connection:
        found = latency.breakdown_of(connection, order_id)
    assert found is not None
    return found


def ends(told: LatencyBreakdown) -> dict[str, tuple[float, float]]:
    parts = ("provider", "notice", "wait", "handling", "lag")
    return {part: (told.ends(part)[0].total_seconds(), told.ends(part)[1].total_seconds()) for part in parts}


def test_an_orders_time_is_split_as_the_log_and_the_notice_tell_it(history: History, store: Database) -> None:
    told = of(store, followed(history, "A-1"))
    assert ends(told) == {
        "provider": (65, 66),
        "notice": (4, 5),
        "wait": (9, 9),
        "handling": (1, 1),
        "lag": (14, 15),
    }
    assert (told.stated_time.value, told.announced) == ("believed", True)


def test_without_a_notice_the_time_is_as_wide_as_the_looks_lie_apart(history: History, store: Database) -> None:
    told = of(store, followed(history, "A-1", notice=None))
    assert ends(told)["lag"] == (0, 20)
    assert (told.stated_time.value, told.announced) == ("none", False)


def test_of_several_notices_the_one_after_the_last_open_look_is_believed(history: History, store: Database) -> None:
    number = history.place("A-1")
    history.accept("A-1")
    history.wait(seconds=30)
    announce(history, "A-1", history.at, stamp="too early")
    history.wait(seconds=30)
    look(history, "A-1", "Pending")
    history.wait(seconds=30)
    announce(history, "A-1", history.at - timedelta(seconds=10))
    announce(history, "A-1", history.at - timedelta(seconds=3), stamp="another")
    history.wait(seconds=30)
    look(history, "A-1", "Completed")
    told = of(store, number)
    assert (ends(told)["provider"], told.stated_time.value) == ((80.5, 81.5), "believed")
    assert not told.announced


def test_a_notice_that_was_refused_states_no_time(history: History, store: Database) -> None:
    number = history.place("A-1")
    history.accept("A-1")
    history.wait(seconds=30)
    foreign = WebhookCall("FulfillmentComplete", "BLK-99", "A-1", history.at, "foreign")
    store.write(lambda connection: ingest.receive_webhook(connection, foreign, 120, history.at, PLANNER))
    look(history, "A-1", "Completed")
    assert of(store, number).stated_time.value == "none"


def test_what_is_open_cancelled_or_was_finished_at_first_sight_is_not_in_the_ledger(
    history: History, store: Database
) -> None:
    for name in ("OPEN-1", "GONE-1", "ADOPTED-1"):
        history.place(name)
    history.accept("OPEN-1")
    history.accept("GONE-1")
    history.look("GONE-1", "Cancelled")
    history.see("ADOPTED-1", Attempted(1), Witness.US)
    history.see("ADOPTED-1", Answered(history.snapshot("ADOPTED-1", "Completed"), adopted=True), Witness.ANSWER)
    history.look("ADOPTED-1", "Completed")
    history.find_finished("FOUND-1")
    with store.read() as connection:
        assert [latency.breakdown_of(connection, number) for number in history.numbers.values()] == [None] * 3
    told = report(store, history.at, "24h")
    assert (told.orders, len(told.rows)) == (0, 0)
    assert told.details == "2 excluded (already complete when first seen, or no accepted time)."
    assert list(told.rows.columns) == list(latency.LATENCY_COLUMNS)


def test_an_empty_ledger_says_so(store: Database) -> None:
    assert report(store, START, "7d").finding == "No completions observed in this period."


def test_days_add_up_what_their_orders_show(history: History, store: Database) -> None:
    followed(history, "A-1", stated=65)
    followed(history, "A-2", notice=None)
    history.at = START + DAY
    followed(history, "B-1", stated=400)
    told = report(store, history.at, "7d")
    rows = told.rows.set_index("hour")
    first, second = rows.iloc[0], rows.iloc[1]
    assert [day.isoformat() for day in rows.index] == ["2026-03-04T00:00:00+00:00", "2026-03-05T00:00:00+00:00"]
    assert (first["orders"], first["stated"], second["orders"], second["stated"]) == (2, 1, 1, 0)
    assert (first["p50_least"], first["p50_most"]) == pytest.approx((14, 20))
    assert (first["p95_least"], first["p95_most"]) == pytest.approx((14, 20))
    assert (first["wait_least"], first["wait_most"]) == pytest.approx((0, 19))
    assert (second["notice_least"], second["notice_most"]) == pytest.approx((0, 10))
    assert told.orders == 3
    assert told.details.endswith("1 provider timestamp contradicts our polls and was ignored.")
    hours = latency.latency_report(store, START - DAY, hourly=True).rows["hour"]
    assert [hour.isoformat() for hour in hours] == ["2026-03-04T10:00:00+00:00", "2026-03-05T10:00:00+00:00"]


def test_the_finding_tells_percentiles_and_the_details_what_they_rest_on(history: History, store: Database) -> None:
    followed(history, "A-1")
    history.wait(seconds=1)
    followed(history, "A-2", notice=None)
    history.find_finished("FOUND-1")
    told = report(store, history.at, "24h")
    assert told.finding == "0 to 1 of 2 completions detected within 5 s: p50 14 to 20 s, p95 14 to 20 s."
    assert told.details == (
        "The median order: webhook 0 s, polling 0 to 19 s, processing 0 to 1 s; the provider took 1 min to "
        "1 min 20 s. 1 uses the provider's own timestamp. "
        "1 excluded (already complete when first seen, or no accepted time)."
    )


def test_the_span_bounds_what_is_counted(history: History, store: Database) -> None:
    followed(history, "OLD-1")
    history.at = START + 3 * DAY
    followed(history, "NEW-1")
    assert report(store, history.at, "24h").orders == 1
    assert report(store, history.at, "7d").orders == 2
    with pytest.raises(ValueError, match="no span"):
        report(store, history.at, "1y")


def test_only_the_newest_are_read_and_that_is_told(
    history: History, store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed(history, "A-1")
    followed(history, "A-2", notice=None)
    monkeypatch.setattr(latency, "ORDERS_MEASURED", 1)
    told = report(store, history.at, "24h")
    assert (told.orders, told.rows["p50_most"].tolist()) == (1, [20])
    assert told.finding == ("0 to 1 of the newest 1 completion detected within 5 s: p50 0 to 20 s, p95 0 to 20 s.")


def test_an_orders_page_and_why_tell_the_split(history: History, store: Database) -> None:
    number = followed(history, "A-1")
    sentence = (
        "Detected 14 to 15 s after completion (webhook 4 to 5 s, polling 9 s, processing 1 s); "
        "the provider took 1 min 5 s to 1 min 6 s. This uses the provider's own timestamp."
    )
    assert verdicts.order_view(store, number, history.at).evidence[-1] == sentence
    told = explanations.explain_next_poll(store, number, history.at)
    assert told["reasons"][:2] == ["Completed.", sentence]
    assert json.loads(json.dumps(told["lag"])) == {
        "provider": [65, 66],
        "notice": [4, 5],
        "wait": [9, 9],
        "handling": [1, 1],
        "lag": [14, 15],
        "announced": True,
        "stated": "believed",
    }
    history.place("OPEN-1")
    assert explanations.explain_next_poll(store, history.numbers["OPEN-1"], history.at)["lag"] is None


def test_made_up_history_states_times_that_fit(store: Database) -> None:
    seed(store, 60, days=2, rng=random.Random(5), now=START)
    told = report(store, START, "7d")
    assert told.orders > 20
    assert told.rows["stated"].sum() > told.orders / 2
    assert told.rows["p95_most"].max() > 1
    assert (" % of " in told.finding) == (told.orders >= 100)
    with store.read() as connection:
        known = connection.execute(sa.select(sa.func.count()).where(EVENTS.c.kind == "completed")).scalar_one()
    assert told.orders <= known
    assert verify(store) == []


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (latency._newest(START), "ix_events_kind"),
        (latency._searched(START), "ix_events_kind"),
        (latency._one_order(), "sqlite_autoindex_events_1"),
    ],
)
def test_nothing_is_found_by_a_walk(tmp_path: Path, query: Any, index: str) -> None:
    """The planner would take the index of all completions for one order, and that of all outcomes for one's notices."""
    opened = connect(f"sqlite:///{tmp_path}/plan.db")
    with opened.read() as connection:
        said = query.compile(connection)
        values = tuple(said.params[name] for name in said.positiontup)
        plan = str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {said}", values).all())
    opened.close()
    assert index in plan
    assert ("ix_callbacks_order_id" in plan) == ("callbacks" in str(said))
    assert not re.search("SCAN (events|orders|callbacks|told|word)", plan)
