from datetime import UTC, datetime, timedelta

import pytest
from fakes import callback, request, shown
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Connection

from tracking import ingest
from tracking.app.web.call_figures import CallFigures
from tracking.app.web.metrics import metrics_text
from tracking.forecasting.planner import PlanningContext
from tracking.provider.call_log import ApiCallRecord
from tracking.storage import facts, inbox
from tracking.storage.database import Database
from tracking.storage.facts import FactKey
from tracking.storage.migrations import HEAD
from tracking.webhooks import silence_alarm


def values(store: Database, now: datetime, calls: CallFigures | None = None) -> dict[str, float]:
    """What /metrics says, but for the process and its build, by name and labels."""
    text = metrics_text(store, now, calls).decode()
    return {
        sample.name + "".join(f"/{value}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.startswith(("process_", "tracking_build"))
    }


def test_an_empty_store_has_metrics_too(store: Database, now: datetime) -> None:
    nothing = (
        "tracking_orders_late",
        "tracking_orders_needing_decision",
        "tracking_webhooks_silent",
        "tracking_looks_due",
        "tracking_orders_not_weighed",
        "tracking_outbox_waiting",
        "tracking_jobs_running",
        "tracking_orders_waiting_for_approval",
        "tracking_balance_low",
        "tracking_store_trouble",
        "tracking_store_wal_bytes",
        "tracking_orders_removed_total",
        "tracking_orders_not_removed_total",
        "tracking_alert_messages_total/sent",
        "tracking_alert_messages_total/failed",
        "tracking_alert_services_failing",
        "tracking_hooks_failing",
        "tracking_deliveries_waiting",
        "tracking_deliveries_oldest_seconds",
        *(f"tracking_delivery_attempts_recent/{outcome}" for outcome in ("delivered", "refused", "unanswered")),
    )
    assert values(store, now) == dict.fromkeys(nothing, 0) | {"tracking_store_wal_bytes": store.wal_bytes()}


def test_the_metrics_say_what_the_store_holds(store: Database, planner: PlanningContext, now: datetime) -> None:
    def job(connection: Connection) -> None:
        ingest.place(connection, request("queued"), source="form", actor=None, now=now)
        for number, status in enumerate(["Pending", "Completed", "Completed"]):
            ingest.discover(connection, shown(f"BLK-{number}", f"po-{number}", status), now, now, planner)
        ingest.receive_webhook(connection, callback("po-0", "BLK-0"), 9, now, planner)
        inbox.record_refusal(connection, {"reason": "x"}, now)
        inbox.add_refusal_counts(connection, {"secret": 3}, now)
        facts.set_fact(connection, "beat:poller", {"left_out": 7}, now)
        ingest.discover(connection, shown("BLK-9", "po-9", "Cancelled"), now, now, planner)

    store.write(job)
    told = values(store, now + timedelta(seconds=5))
    wanted: dict[str, float] = {
        "tracking_orders/Queued": 1,
        "tracking_orders/Pending": 1,
        "tracking_orders/Completed": 2,
        "tracking_orders/Accepted": 0,
        "tracking_units/Completed": 2,
        "tracking_entered_total/Accepted": 4,
        "tracking_entered_total/Found Completed": 2,
        "tracking_callbacks/accepted": 1,
        "tracking_callbacks/refused": 1,
        "tracking_webhooks_refused_total/secret": 3,
        "tracking_orders_needing_decision": 1,
        "tracking_fact_age_seconds/beat:poller": 5,
        "tracking_looks_due": 1,
        "tracking_orders_not_weighed": 7,
        "tracking_outbox_waiting": 1,
    }
    assert {name: told[name] for name in wanted} == wanted


def test_words_nobody_knows_make_no_series_of_their_own(
    store: Database, planner: PlanningContext, now: datetime
) -> None:
    def job(connection: Connection) -> None:
        for number, status in enumerate(["InReview", 'Shr"edded\\ }\n{', "Pending"]):
            ingest.discover(connection, shown(f"BLK-{number}", f"po-{number}", status), now, now, planner)

    store.write(job)
    told = values(store, now)
    assert told["tracking_orders/other"] == 2
    assert told["tracking_units/other"] == 2
    assert told["tracking_orders/Pending"] == 1
    assert not [name for name in ("BLK", "po-", "InReview", "Shr") if name in metrics_text(store, now).decode()]


def test_late_orders_and_silent_webhooks_can_be_alarmed_on(
    store: Database, planner: PlanningContext, now: datetime
) -> None:
    silence = silence_alarm.SilenceAlarm(now, now, 3)

    def job(connection: Connection) -> None:
        ingest.discover(connection, shown("BLK-1", "po-1", "Pending"), now, now, planner)
        facts.set_fact(connection, FactKey.WEBHOOK_SILENCE, silence.to_fact(), now)
        facts.set_fact(connection, 'forecast:Any "word"/1', {}, now)

    store.write(job)
    told = values(store, now + timedelta(days=1))
    assert (told["tracking_orders_late"], told["tracking_webhooks_silent"]) == (1, 1)
    assert not [name for name in told if "forecast" in name]
    assert values(store, now)["tracking_orders_late"] == 0
    ended = silence_alarm.SilenceAlarm(now, now, 3, now)
    store.write(lambda connection: facts.set_fact(connection, FactKey.WEBHOOK_SILENCE, ended.to_fact(), now))
    assert values(store, now)["tracking_webhooks_silent"] == 0


def call(path: str, milliseconds: int, outcome: str = "ok") -> ApiCallRecord:
    return ApiCallRecord(datetime.now(UTC), "GET", path, 200, milliseconds, outcome)


def test_calls_are_counted_by_how_long_they_took_without_the_ids_in_their_paths(store: Database, now: datetime) -> None:
    calls = CallFigures()
    for path, milliseconds, outcome in (
        ("/v1/Orders/BLK-1", 50, "ok"),
        ("/v1/Orders/BLK-2", 51, "ok"),
        ("/v1/Orders?pageSize=50", 90_000, "not sent: connection refused by 192.0.2.7"),
    ):
        calls.observe(call(path, milliseconds, outcome))
    told = values(store, now, calls)
    one, many = "/v1/Orders/{id}", "/v1/Orders"
    name = "tracking_api_call_duration_seconds"
    assert {told[f"{name}_bucket/{one}/{bound}/GET/ok"] for bound in ("0.1", "60.0", "+Inf")} == {2}
    assert told[f"{name}_bucket/{one}/0.05/GET/ok"] == 1
    assert told[f"{name}_count/{one}/GET/ok"] == 2
    assert told[f"{name}_sum/{one}/GET/ok"] == pytest.approx(0.101)
    assert (told[f"{name}_bucket/{many}/60.0/GET/not sent"], told[f"{name}_bucket/{many}/+Inf/GET/not sent"]) == (0, 1)
    text = metrics_text(store, now, calls).decode()
    assert "BLK" not in text
    assert f'revision="{HEAD}"' in text
