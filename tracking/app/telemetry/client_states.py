"""States of the clients of all processes on the store, as one: what pages and alerts say of the provider. Pure.

Each process stores the state of its own client beside those of the others, and at the top what they come to: the calls
of all, the longest pause, and since when calls fail. Where one fails while another is answered the provider can be
reached: then that counts as no more than a call that failed.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tracking.storage.facts import LOOP_SILENT_AFTER

State = Mapping[str, Any]
_NO_FAILURE: State = {"failing_since": None, "failures": 0}


def with_state(stored: State, owner: str, state: State, now: datetime) -> dict[str, Any]:
    """What is to be stored in place of `stored`, where the client of process `owner` is in this state now."""
    processes: dict[str, State] = {
        name: one for name, one in stored.get("processes", {}).items() if _is_recent(one, now)
    } | {owner: {**state, "at": now.isoformat()}}
    return {**state, **_merged([*processes.values()]), "processes": processes}


def _is_recent(state: State, now: datetime) -> bool:
    return abs(now - datetime.fromisoformat(state["at"])) <= LOOP_SILENT_AFTER


def _merged(states: list[State]) -> dict[str, Any]:
    latest = {name: max(filter(None, (one.get(name) for one in states)), default=None) for name in _LATEST}
    calls = sum(one.get("calls_in_the_last_minute", 0) for one in states)
    return {**latest, "calls_in_the_last_minute": calls, **_failing(states, latest["answered_at"])}


_LATEST = ("token_valid_until", "paused_until", "rate", "answered_at")


def _failing(states: list[State], answered_at: str | None) -> State:
    """Since when no call was answered, how many failed since, and why the last of them did."""
    failing = [one for one in states if one.get("failing_since")]
    if not failing:
        return _NO_FAILURE
    longest = min(failing, key=lambda one: str(one["failing_since"]))
    since, why = longest["failing_since"], longest["last_error"]
    if answered_at is None or answered_at <= since:
        return {"failing_since": since, "failures": max(one["failures"] for one in failing), "last_error": why}
    after = [one["failures"] for one in failing if one["failing_since"] >= answered_at]
    return {"failing_since": answered_at, "failures": max(after, default=1), "last_error": why}
