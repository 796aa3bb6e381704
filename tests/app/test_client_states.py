"""What the clients of several processes say of the provider is one thing, whichever of them wrote last."""

from datetime import timedelta
from typing import Any

from histories import START

from tracking.app.telemetry.client_states import with_state
from tracking.provider.scalars.times import format_time

WELL = {"failing_since": None, "failures": 0, "last_error": None, "paused_until": None, "token_valid_until": None}


def at(seconds: float) -> str | None:
    return format_time(START + timedelta(seconds=seconds))


def state(calls: int = 0, **more: Any) -> dict[str, Any]:
    return {**WELL, "rate": 5, "calls_in_the_last_minute": calls, "answered_at": None, **more}


def stored(*states: tuple[float, str, dict[str, Any]]) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for seconds, owner, one in states:
        value = with_state(value, owner, one, START + timedelta(seconds=seconds))
    return value


def test_calls_add_up_and_the_longest_pause_is_the_pause_of_all() -> None:
    ours, theirs = state(7, paused_until=at(90)), state(12, token_valid_until=at(600))
    both = stored((0, "a", ours), (1, "b", theirs))
    assert {name: both[name] for name in ("calls_in_the_last_minute", "rate", "paused_until", "token_valid_until")} == {
        "calls_in_the_last_minute": 19,
        "rate": 5,
        "paused_until": at(90),
        "token_valid_until": at(600),
    }
    # Each again, and then one alone, once the other has not said a word for so long that it has ended.
    assert stored((0, "a", ours), (1, "b", theirs), (2, "a", ours))["calls_in_the_last_minute"] == 19
    alone = stored((0, "a", ours), (30, "b", theirs))
    assert (alone["calls_in_the_last_minute"], alone["paused_until"]) == (12, None)


def test_calls_fail_where_none_was_answered_since_they_began_to() -> None:
    failing = state(failing_since=at(10), failures=6, last_error="NotSent: no route", answered_at=at(9))
    idle = state(answered_at=at(2))
    for order in ([(20, "a", failing), (21, "b", idle)], [(20, "b", idle), (21, "a", failing)]):
        both = stored(*order)
        assert (both["failing_since"], both["failures"], both["last_error"]) == (at(10), 6, "NotSent: no route")
    # Another one was answered meanwhile: the provider can be reached, and a call failed.
    well = state(answered_at=at(18))
    for order in ([(20, "a", failing), (21, "b", well)], [(20, "b", well), (21, "a", failing)]):
        both = stored(*order)
        assert (both["failing_since"], both["failures"]) == (at(18), 1)
    assert stored((20, "a", well), (21, "b", idle))["failing_since"] is None


def test_what_an_earlier_version_stored_is_replaced() -> None:
    before = state(9, failing_since=at(0), failures=3, last_error="NotSent: no route")
    assert with_state(before, "a", state(4), START)["calls_in_the_last_minute"] == 4
