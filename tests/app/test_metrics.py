from datetime import datetime, timedelta

from fakes import callback, request, shown
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Connection

from tracking import ingest
from tracking.app.web.metrics import metrics_text
from tracking.forecasting.planner import PlanningContext
from tracking.storage import facts, inbox
from tracking.storage.database import Database
from tracking.storage.facts import FactKey
from tracking.webhooks import silence_alarm


def values(store: Database, now: datetime) -> dict[str, float]:
    text = metrics_text(store, now).decode()
    return {
        sample.name + "".join(f"/{value}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_an_empty_store_has_metrics_too(store: Database, now: datetime) -> None:
    nothing = (
        "tracking_orders_late",
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
    )
    assert values(store, now) == dict.fromkeys(nothing, 0) | {"tracking_store_wal_bytes": store.wal_bytes()}


def test_the_metrics_say_what_the_store_holds(store: Database, planner: PlanningContext, now: datetime) -> None:
    def job(connection: Connection) -> None:
        ingest.place(connection, request("queued"), source="form", actor=None, now=now)
        for number, status in enumerate(["Pending", "Completed", "Completed"]):
            ingest.discover(connection, shown(f"BLK-{number}", f"po-{number}", status), now, now, planner)
        ingest.receive_webhook(connection, callback("po-0", "BLK-0"), 9, now, planner)
        inbox.record_refusal(connection, {"reason": "x"}, now)
        facts.set_fact(connection, "beat:poller", {"left_out": 7}, now)

    store.write(job)
    told = values(store, now + timedelta(seconds=5))
    wanted: dict[str, float] = {
        "tracking_orders/Queued": 1,
        "tracking_orders/Pending": 1,
        "tracking_orders/Completed": 2,
        "tracking_orders/Accepted": 0,
        "tracking_units/Completed": 2,
        "tracking_entered_total/Accepted": 3,
        "tracking_entered_total/Found Completed": 2,
        "tracking_callbacks/accepted": 1,
        "tracking_callbacks/refused": 1,
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
