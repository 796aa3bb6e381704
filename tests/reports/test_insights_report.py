"""Forecast accuracy and witness agreement: what is counted, what is left out, and how the findings read."""

import re
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa
from histories import START, History

from charts import insights as charts
from charts.palette import LIGHT
from tracking.forecasting.predictions import Score
from tracking.reports.insights import forecasts, witnesses
from tracking.storage.database import Database, connect
from tracking.storage.tables import PREDICTIONS

EARLIER = START - timedelta(days=1)


def predict(history: History, name: str, minutes: float) -> None:
    row = {"order_id": history.numbers[name], "step": 0, "made_at": history.at, "orders": 40}
    row["nine_in_ten_by"] = history.at + timedelta(minutes=minutes)
    history.database.write(lambda connection: connection.execute(sa.insert(PREDICTIONS), row))


def test_etas_are_scored_by_type_and_few_of_them_are_not_enough(
    history: History, store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert forecasts.forecast_accuracy(store, EARLIER, START).text == "No ETA came due in this period."
    for name, minutes in (("A-1", 30), ("A-2", 1), ("A-3", 5)):
        history.place(name)
        predict(history, name, minutes)
        history.complete(name)
    told = forecasts.forecast_accuracy(store, EARLIER, history.at + timedelta(days=1))
    # The last poll that said "open" was after 10 s, so of an ETA between that and the completion nobody can say.
    assert told.text == "Not enough history (3 of 30 ETAs): so far 90 % ETAs: 3 made, 1 to 3 held."
    assert told.rows.to_dict("split")["data"] == [[name, 3, 33, 100, "as promised"] for name in ("", "Links")]
    monkeypatch.setattr(forecasts, "RELIABLE_ORDERS", 3)
    told = forecasts.forecast_accuracy(store, EARLIER, history.at + timedelta(days=1))
    assert told.text == "90 % ETAs: 3 made, 1 to 3 held, as promised (90 of 100, so 3)."


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (Score(541, 415, 55), "as promised within chance"),  # 486 at the most, 487 are due
        (Score(541, 415, 54), "as promised"),
        (Score(541, 415, 70), "fewer than promised"),
        (Score(541, 505, 0), "more than promised"),
    ],
)
def test_the_sentence_and_the_chart_judge_etas_alike(score: Score, words: str) -> None:
    assert forecasts.verdict(score) == words
    frame = pd.DataFrame({"like": ["All orders"], "etas": [541], "verdict": [words]})
    frame[["held_least", "held_most"]] = score.held_of_100
    color = charts.accuracy(frame, promised=90).data[0].line.color
    assert (color == LIGHT.trouble) == (words == "fewer than promised")


def test_each_completion_is_reported_by_webhook_by_poll_or_by_both(history: History, store: Database) -> None:
    assert witnesses.witness_agreement(store, EARLIER).text == "No completions observed in this period."
    history.place("WEBHOOK-FIRST")
    history.accept("WEBHOOK-FIRST")
    history.wait(seconds=1)
    history.announce("WEBHOOK-FIRST", times=2)
    history.wait(seconds=4)
    history.look("WEBHOOK-FIRST", "Completed")
    history.place("POLL-FIRST")
    history.complete("POLL-FIRST")
    history.wait(seconds=60)
    history.announce("POLL-FIRST")
    history.place("POLL-ONLY")
    history.complete("POLL-ONLY")
    history.find_open("ELSEWHERE")
    history.find_finished("FOUND")
    history.place("WEBHOOK-ONLY")
    history.accept("WEBHOOK-ONLY")
    history.wait(seconds=1)
    history.announce("WEBHOOK-ONLY")
    history.place("CANCELLED")
    history.accept("CANCELLED")
    history.wait(seconds=1)
    history.announce("CANCELLED")
    history.look("CANCELLED", "Cancelled")
    told = witnesses.witness_agreement(store, EARLIER)
    assert told.rows[["po_number", "lead"]].to_numpy().tolist() == [["POLL-FIRST", -60.0], ["WEBHOOK-FIRST", 4.0]]
    assert (told.polls_alone, told.not_announced, told.webhooks_alone, told.contradicted) == (1, 0, 1, 1)
    assert told.text == (
        "Of 3 completions: 2 reported by both (webhook first in 1, median 4 s, "
        "poll first in 1, median 1 min); 1 by poll only; 1 more by webhook only so far. "
        "In 1 order polls contradicted the webhook."
    )
    assert witnesses.witness_agreement(store, history.at + timedelta(seconds=1)).rows.empty


def test_a_webhook_before_a_poll_that_says_open_contradicts_and_leads_nothing(
    history: History, store: Database
) -> None:
    history.place("EARLY")
    history.accept("EARLY")
    history.announce("EARLY")
    history.wait(seconds=10)
    history.look("EARLY", "Pending")
    history.wait(seconds=10)
    history.look("EARLY", "Completed")
    told = witnesses.witness_agreement(store, EARLIER)
    assert (len(told.rows), told.polls_alone, told.contradicted) == (0, 1, 1)


def test_completions_and_their_webhooks_are_found_along_indexes(tmp_path: Path) -> None:
    opened = connect(f"sqlite:///{tmp_path}/plan.db")
    with opened.read() as connection:
        query = witnesses._completions(START).compile(connection)
        values = tuple(query.params[name] for name in query.positiontup)
        plan = str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", values).all())
    opened.close()
    assert "ix_events_kind" in plan
    assert "ix_callbacks_order_id" in plan
    assert not re.search("SCAN (events|orders|callbacks|call)", plan)
