from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracking.orders.latency import within
from tracking.orders.wording import describe_event, duration, latest, longest, window

DAY = datetime(2026, 3, 4, tzinfo=UTC)
UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86_400}


def seconds(text: str) -> int:
    words = text.split()
    return sum(int(number) * UNITS[unit] for number, unit in zip(words[::2], words[1::2], strict=True))


@pytest.mark.parametrize(
    ("length", "least", "most"),
    [
        (-5, "0 s", "0 s"),
        (0, "0 s", "0 s"),
        (0.2, "0 s", "1 s"),
        (59.5, "59 s", "1 min"),
        (240, "4 min", "4 min"),
        (292, "4 min 52 s", "4 min 52 s"),
        (292.1, "4 min 52 s", "4 min 53 s"),
        (3599.5, "59 min 59 s", "1 h 0 min"),
        (3601, "1 h 0 min", "1 h 1 min"),
        (86_399, "23 h 59 min", "1 d 0 h"),
        (90_001, "1 d 1 h", "1 d 2 h"),
    ],
)
def test_a_length_is_told_rounded_down_and_as_a_bound_rounded_up(length: float, least: str, most: str) -> None:
    assert (duration(timedelta(seconds=length)), longest(timedelta(seconds=length))) == (least, most)


@given(st.timedeltas(min_value=timedelta(), max_value=timedelta(days=400)))
def test_a_length_lies_between_what_is_told_of_it(length: timedelta) -> None:
    assert seconds(duration(length)) <= length.total_seconds() <= seconds(longest(length))


def test_an_upper_bound_that_is_known_exactly_is_rounded_up_too() -> None:
    assert within(timedelta(seconds=0.12), timedelta(seconds=0.12)) == "0.2 s"
    assert within(timedelta(seconds=1.29), timedelta(seconds=4.71)) == "1.2 to 4.8 s"


def test_the_latest_moment_is_rounded_up_to_what_is_shown_of_it() -> None:
    moment = DAY + timedelta(hours=23, minutes=59, seconds=59, microseconds=1)
    assert latest(moment, DAY) == "2026-03-05 00:00:00"
    assert latest(DAY + timedelta(hours=1), DAY) == "01:00:00"


@pytest.mark.parametrize(
    ("after", "by", "said"),
    [
        (None, 62.5, "before 00:01:03"),
        (0.0, 59.5, "00:01:00"),
        (60.0, 242.0, "00:01 to 00:05"),
        (60.0, 240.0, "00:01 to 00:04"),
        (0.0, 86_350.0, "00:00 to 2026-03-05 00:00"),
    ],
)
def test_the_window_of_a_completion_is_rounded_outwards(after: float | None, by: float, said: str) -> None:
    begun = None if after is None else DAY + timedelta(seconds=after)
    assert window(begun, DAY + timedelta(seconds=by), DAY) == said


def test_lines_of_which_the_same_is_said_are_told_together_and_many_by_their_number() -> None:
    def text(*changes: tuple[str, str]) -> str:
        lines = [{"numbers": numbers, "status": status, "claims_hash": numbers} for numbers, status in changes]
        row = {
            **dict.fromkeys(("happened_at", "learned_at", "seq"), DAY),
            "witness": "poll",
            "kind": "lines changed",
            "changes": {},
            "detail": {},
            "line_changes": lines,
        }
        return describe_event(row).text

    assert text(("1,5", "Sent"), ("2-4", "Sent"), ("7", "Failed")).endswith("(lines 1-5: Sent; line 7: Failed)")
    scattered = ",".join(str(number) for number in range(1, 60, 2))
    assert text((scattered, "Sent")).endswith("(30 lines: Sent)")
