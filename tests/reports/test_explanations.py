"""What is said of an open order must be true of its curve, also after rounding, and say how much it rests on."""

from datetime import datetime, timedelta

import pytest
from fakes import Clock
from finished import times_of
from histories import History
from hypothesis import given
from hypothesis import strategies as st

from tracking.errors import UnknownOrder
from tracking.forecasting.finish_times import FinishTimes
from tracking.forecasting.forecasts import ComparableTimes, LateBasis, LateLimit
from tracking.forecasting.learned import store_forecasts
from tracking.forecasting.survival import Forecast, Interval
from tracking.reports import explanations
from tracking.reports.explanations import expectation
from tracking.reports.order_list import search
from tracking.reports.order_list.expected import expected_times
from tracking.reports.order_list.filters import Filters
from tracking.storage import facts
from tracking.storage.database import Database
from tracking.storage.facts import FactKey
from tracking.webhooks.silence_alarm import SilenceAlarm

TIMES = times_of(*(Interval(280.0 + step, 320.0 + step) for step in range(0, 600, 10)), orders=1)
LEARNED = ComparableTimes(TIMES, "Links/64")


@pytest.fixture
def history(store: Database) -> History:
    return History(store)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Links/1", "links, 1 card"),
        ("Links/2", "links, 2 cards"),
        ("DigitalDelivery/64", "digital delivery, 33 to 64 cards"),
        ("PhysicalShipment/4096", "physical shipment, 2049 to 4,096 cards"),
        ("Carrier pigeon/8", "Carrier pigeon, 5 to 8 cards"),
    ],
)
def test_a_class_has_a_name_that_people_use(name: str, words: str) -> None:
    assert explanations.class_text(name) == words


@given(st.floats(0, 3e6))
def test_what_is_said_holds_for_the_curve_after_rounding(age: float) -> None:
    said, curve = expectation(LEARNED, "Links/64", timedelta(seconds=age)), TIMES.curve
    assert 0 <= said.slower_than <= 99
    assert said.slower_than / 100 <= 1 - float(curve.at(age)) + 1e-9
    open_now = float(curve.at(age))
    for within, share in ((said.half_within, 0.5), (said.nine_in_ten_within, 0.9)):
        if within is not None:
            left = float(curve.at(age + within.total_seconds()))
            assert left <= open_now * (1 - share) + 1e-6


def test_an_order_is_placed_among_its_like() -> None:
    said = expectation(LEARNED, "Links/64", timedelta(minutes=14))
    assert said.slower_than >= 85
    assert said.orders == 60
    assert said.text.startswith("Expected to complete within ")
    assert said.text.endswith(
        f" Slower than {said.slower_than} % of similar orders. Based on 60 completed orders (links, 33 to 64 cards)."
    )


def test_a_young_order_is_not_called_slow() -> None:
    assert expectation(LEARNED, "Links/64", timedelta()).text.find("No slower than similar orders so far.") > 0


def test_what_is_unknown_is_said_so() -> None:
    said = expectation(LEARNED, "Links/64", timedelta(days=79))
    assert (said.half_within, said.nine_in_ten_within, said.slower_than) == (None, None, 99)
    assert "No estimate: hardly any similar order took this long and completed" in said.text
    few = ComparableTimes(times_of(Interval(9.0, 11.0), orders=9), "Links/64")
    said = expectation(few, "Links/64", timedelta(minutes=1))
    assert said.text == (
        "No estimate: not enough history, 9 of 30 completed orders (links, 33 to 64 cards). "
        "Orders already complete when first seen do not count."
    )
    assert (said.half_within, said.nine_in_ten_within, said.orders) == (None, None, 9)


def test_what_is_borrowed_from_another_size_is_said_so() -> None:
    said = expectation(ComparableTimes(TIMES, "Links/64", 2.0), "Links/128", timedelta())
    own = expectation(LEARNED, "Links/64", timedelta())
    assert said.text.endswith("Based on 60 completed orders of another size (links, 33 to 64 cards).")
    assert own.half_within is not None
    assert said.half_within is not None
    assert said.half_within >= 1.9 * own.half_within


@pytest.mark.parametrize(
    ("basis", "because"),
    [
        ("promise", "as promised in TRACKING_LATE_AFTER"),
        ("learned", "99 % of 9 completed orders took less (links, 1 card)"),
        ("borrowed", "by 9 completed orders of another size (links, 1 card), as too few of this size have completed"),
        ("guess", "a default, not enough history, 9 of 30 completed orders (links, 1 card)"),
    ],
)
def test_what_late_rests_on_is_said(basis: str, because: str) -> None:
    limit = LateLimit(timedelta(minutes=4), LateBasis(basis), 9, "Links/1")
    assert explanations.late_limit_text(limit) == f"Late from an age of 4 min: {because}."


def remember(store: Database, times: dict[str, FinishTimes], clock: Clock, **pacing: float) -> None:
    forecasts = [Forecast.fit(name, ()) for name in times]
    store.write(lambda connection: store_forecasts(connection, forecasts, clock.now, times))
    store.write(lambda connection: facts.set_fact(connection, FactKey.PACING, pacing, clock.now))


def test_why_tells_what_is_expected_what_a_look_costs_and_when_it_comes(
    history: History, store: Database, clock: Clock
) -> None:
    number = history.place("SLOW-1")
    history.accept("SLOW-1")
    history.wait(minutes=10)
    remember(store, {"Links/1": times_of(Interval(9.0, 11.0), orders=40)}, clock, price=4.0, heard=0.5)
    told = explanations.explain_next_poll(store, number, history.at)
    assert told["expected"]["slower_than"] == 99
    assert (told["price"], told["heard"]) == (8.0, 0.5)
    text = " ".join(told["reasons"])
    assert text.startswith("Pending for 10 min. No estimate:")
    assert "Next poll by" in text
    assert "A poll costs 8.0 s" in text
    assert "50 % of completions are announced" in text


def test_why_counts_on_no_webhooks_while_they_are_silent(history: History, store: Database, clock: Clock) -> None:
    number = history.place("A-1")
    history.accept("A-1")
    remember(store, {"Links/64": TIMES}, clock, price=4.0, heard=0.9)
    alarm = SilenceAlarm(clock.now, clock.now, 3)
    store.write(lambda connection: facts.set_fact(connection, FactKey.WEBHOOK_SILENCE, alarm.to_fact(), clock.now))
    assert explanations.explain_next_poll(store, number, history.at)["price"] == 4.0


def test_why_says_of_what_is_not_followed_that_it_is_not(history: History, store: Database) -> None:
    queued = history.place("Q-1")
    refused = history.place("R-1")
    history.refuse("R-1")
    assert "nothing to poll" in explanations.explain_next_poll(store, queued, history.at)["reasons"][0]
    assert explanations.explain_next_poll(store, refused, history.at)["reasons"] == ["Refused.", "No poll is planned."]
    with pytest.raises(UnknownOrder):
        explanations.explain_next_poll(store, 4711, history.at)


def test_what_is_promised_is_rounded_up() -> None:
    limit = LateLimit(timedelta(seconds=391.2), LateBasis.PROMISE, 0, "Links/1")
    assert explanations.late_limit_text(limit).startswith("Late from an age of 6 min 32 s:")
    text = explanations._completion_text(timedelta(seconds=292.5), timedelta(hours=2, seconds=1))
    assert text == "Expected to complete within 4 min 53 s (50 %) or 2 h 1 min (90 %)"


def test_a_list_expects_an_order_when_nine_in_ten_like_it_are_complete(
    history: History, store: Database, clock: Clock
) -> None:
    for name in ("WAITS-1", "DONE-1", "QUEUED-1"):
        history.place(name)
    history.accept("WAITS-1")
    history.complete("DONE-1", minutes=0)
    now = history.at

    def expected() -> dict[str, datetime | None]:
        rows = search.orders_page(store, Filters(), now).rows.astype(object).to_dict("records")
        return dict(zip((row["po_number"] for row in rows), expected_times(store, rows, now), strict=True))

    assert set(expected().values()) == {None}
    remember(store, {"Links/1": times_of(Interval(59.0, 61.0), orders=40)}, clock)
    times = expected()
    assert times["DONE-1"] is times["QUEUED-1"] is None
    assert times["WAITS-1"] is not None
    assert timedelta(seconds=45) <= times["WAITS-1"] - now <= timedelta(seconds=75)
