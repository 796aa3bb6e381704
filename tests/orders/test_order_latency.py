"""Where an order's time went must add up and hold the truth, whatever of it was seen and whatever clocks say."""

import re
from dataclasses import astuple, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracking.orders.latency import (
    PARTS,
    SECOND,
    TOLERANCE,
    CompletionTimes,
    Parts,
    StatedTime,
    between,
    break_down,
    completion_window,
    parts,
)

AT = datetime(2026, 3, 4, 10, 0, tzinfo=UTC)
LENGTHS = st.integers(0, 3_600_000_000).map(lambda number: timedelta(microseconds=number))
SHORT = st.integers(0, 9_000_000).map(lambda number: timedelta(microseconds=number))
ANY_TIME = LENGTHS.map(lambda length: AT + length)
CLOSE = SHORT.map(lambda length: AT + length)
ZERO = timedelta()


def after(seconds: float) -> datetime:
    return AT + timedelta(seconds=seconds)


def seconds(values: Parts) -> list[float]:
    return [value.total_seconds() for value in astuple(values)]


SEEN = CompletionTimes(AT, after(60), after(100), after(100.5))


def traces(moments: st.SearchStrategy[datetime]) -> st.SearchStrategy[CompletionTimes]:
    """Whatever might be stored, also what no clock that runs straight would give."""
    maybe = st.none() | moments
    return st.builds(CompletionTimes, moments, moments, moments, moments, maybe, maybe, maybe)


@given(traces(ANY_TIME) | traces(CLOSE), st.floats(0, 1))
def test_wherever_in_the_window_it_was_done_the_parts_add_up_and_lie_within_what_is_said(
    trace: CompletionTimes, share: float
) -> None:
    low, high, _ = completion_window(trace)
    assert low <= high
    done = low + (high - low) * share
    told, found = break_down(trace), parts(trace, done)
    assert sum(astuple(found), ZERO) == max(trace.completed_by - trace.accepted_at, ZERO)
    assert min(astuple(found)) >= ZERO
    for part in (*PARTS, "lag"):
        least, most = told.ends(part)
        assert ZERO <= least <= getattr(found, part) <= most


@given(SHORT, SHORT, st.none() | SHORT, st.lists(SHORT, min_size=1, max_size=4), SHORT, st.booleans())
def test_what_really_was_lies_within_what_is_said(
    took: timedelta,
    notice: timedelta | None,
    early: timedelta | None,
    looks: list[timedelta],
    call: timedelta,
    says: bool,
) -> None:
    """The console's side of an order whose truth is known: looks one after the other, a notice, perhaps too early."""
    done, begins = AT + took, [AT]
    for wait in looks:
        begins.append(begins[-1] + wait)
    open_looks = [begin for begin in begins if begin < done]
    began = next((begin for begin in begins if begin >= done), done + timedelta(seconds=1))
    by = began + call
    claim = AT + early if early is not None else done + notice if notice is not None else None
    claim = claim if claim is not None and claim < by else None
    last_open = max(open_looks, default=AT)
    stated = done.replace(microsecond=0) if says and claim is not None else None
    trace = CompletionTimes(AT, last_open, began, by, claim, stated, claim)
    if claim is not None and last_open < claim < done:
        return  # a notice that came too early and that no look contradicted is believed: nobody can know better
    low, high, word = completion_window(trace)
    assert low <= done <= high
    assert word != StatedTime.UNFIT or (claim is not None and claim <= last_open)
    told, really = break_down(trace), parts(trace, done)
    assert all(told.ends(part)[0] <= getattr(really, part) <= told.ends(part)[1] for part in PARTS)


def test_without_a_notice_it_was_done_between_two_looks() -> None:
    told = break_down(SEEN)
    assert (seconds(told.early), seconds(told.late)) == ([60, 0, 40, 0.5], [100.5, 0, 0, 0])
    assert told.text == (
        "Detected 0 to 40.5 s after completion (no webhook in time, polling 0 to 40 s, processing 0 to 0.5 s); "
        "the provider took 1 min to 1 min 41 s."
    )
    assert told.stated_time == StatedTime.NONE


def test_a_notice_bounds_the_time_and_ends_the_providers_way_to_us() -> None:
    told = break_down(replace(SEEN, claimed_at=after(99)))
    assert (seconds(told.early), seconds(told.late)) == ([60, 39, 1, 0.5], [99, 0, 1, 0.5])
    assert told.announced
    assert "webhook 0 to 39 s, polling 1 s, processing 0.5 s" in told.text


def test_a_notice_that_a_later_look_contradicts_bounds_nothing() -> None:
    for claimed in (59, 60):
        assert break_down(replace(SEEN, claimed_at=after(claimed))) == break_down(SEEN)


def test_a_notice_that_came_while_the_look_was_under_way_bounds_the_time_but_led_to_nothing() -> None:
    told = break_down(replace(SEEN, claimed_at=after(100.2)))
    assert (seconds(told.early), seconds(told.late)) == ([60, 0, 40, 0.5], [100.2, 0, 0, pytest.approx(0.3)])
    assert not told.announced


def test_a_stated_time_that_fits_narrows_the_time_to_its_second() -> None:
    told = break_down(replace(SEEN, claimed_at=after(99), stated_at=after(98), stated_by=after(99)))
    assert (seconds(told.early), seconds(told.late)) == ([98, 1, 1, 0.5], [99, 0, 1, 0.5])
    assert told.stated_time == StatedTime.BELIEVED
    assert told.text.endswith("took 1 min 38 s to 1 min 39 s. This uses the provider's own timestamp.")


@pytest.mark.parametrize(
    ("stated", "low", "high"),
    [(57.9, 60, 98), (58, 60, 61), (59.5, 60, 60.5), (97.5, 97.5, 98), (100, 97, 98), (100.1, 60, 98)],
)
def test_a_stated_time_is_believed_as_far_as_clocks_may_differ(stated: float, low: float, high: float) -> None:
    trace = replace(SEEN, claimed_at=after(98), stated_at=after(stated), stated_by=after(98))
    found = completion_window(trace)
    assert found[:2] == (after(low), after(high))
    believed = after(60) - TOLERANCE <= after(stated) <= after(98) + TOLERANCE
    assert (found[2] == StatedTime.BELIEVED) == believed
    assert ("was ignored" in break_down(trace).text) != believed


def test_the_time_that_came_with_a_premature_notice_is_not_believed() -> None:
    trace = replace(SEEN, claimed_at=after(59.5), stated_at=after(59), stated_by=after(59.5))
    assert completion_window(trace) == (after(60), after(100.5), StatedTime.UNFIT)


def test_a_stated_time_counts_also_where_its_notice_came_after_the_look() -> None:
    trace = replace(SEEN, stated_at=after(80), stated_by=after(300))
    assert completion_window(trace) == (after(80), after(80) + SECOND, StatedTime.BELIEVED)
    assert not break_down(trace).announced


def test_an_order_that_was_complete_in_its_own_answer_took_the_provider_no_time_below_zero() -> None:
    told = break_down(CompletionTimes(after(2), AT, after(3), after(3.5)))
    assert seconds(told.early) == [0, 0, 1, 0.5]
    assert seconds(told.late) == [1.5, 0, 0, 0]


def test_clocks_that_were_set_back_break_nothing() -> None:
    told = break_down(
        CompletionTimes(after(500), after(400), after(300), after(200), after(600), after(100), after(600))
    )
    assert seconds(told.early) == seconds(told.late) == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("least", "most", "said"),
    [
        (0.84, 0.84, "0.8 s"),
        (0.02, 0.02, "0 s"),
        (1.29, 4.71, "1.2 to 4.8 s"),
        (0, 12.01, "0 to 12.1 s"),
        (59.95, 59.97, "59.9 s to 1 min"),
        (0.8, 700, "0.8 s to 12 min"),
        (98, 99.2, "1 min 38 s to 1 min 40 s"),
        (60, 240, "1 to 4 min"),
        (2400, 2650, "40 to 45 min"),
        (2401, 2450, "40 to 41 min"),
        (2460, 2460, "41 min"),
        (3900, 7201, "1 h 5 min to 2 h 1 min"),
        (86_401, 90_001, "1 d 0 h to 1 d 2 h"),
    ],
)
def test_lengths_are_told_in_few_words_rounded_outwards(least: float, most: float, said: str) -> None:
    assert between(timedelta(seconds=least), timedelta(seconds=most)) == said


UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86_400}


def read(text: str) -> float:
    return sum(float(number) * UNITS[unit] for number, unit in re.findall(r"([\d.]+) (s|min|h|d)", text))


@given(LENGTHS | SHORT | LENGTHS.map(lambda length: length * 40), LENGTHS | SHORT)
def test_what_is_said_of_a_length_holds_after_rounding(least: timedelta, more: timedelta) -> None:
    said = between(least, least + more)
    first, _, last = said.rpartition(" to ")
    if more and first:
        unit = "" if " " in first else f" {last.partition(' ')[2]}"
        assert read(f"{first}{unit}") <= least.total_seconds() + 1e-9
        assert read(last) >= (least + more).total_seconds() - 1e-9
