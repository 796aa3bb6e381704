"""Decorator `refreshed` for reads that pages share for a few seconds; one that takes too long shows its last result.

A read that refreshes by itself has half a second. Beyond that the page shows what was read last, and says of when that
is.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, ParamSpec, TypeVar

import streamlit as st

from tracking.errors import TooSlow
from tracking.orders.observations import utc_now
from tracking.storage.reading.time_limits import REFRESHED_SECONDS, time_limit

P = ParamSpec("P")
T = TypeVar("T")
# Of when the oldest is that this run shows in place of what is now, and in the session the same of each part by name.
_OVERDUE: ContextVar[datetime | None] = ContextVar("overdue", default=None)
_PARTS = "overdue_parts"


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What was read, when that began, and until when it is recent, by the monotonic clock."""

    value: T
    read_at: datetime
    recent_until: float


class Refreshed(Generic[P, T]):
    """A read whose answer is remembered for `ttl` seconds, and the last one of each for as long as none is newer.

    Each page asks for some twenty of them in each run. Streamlit's own cache would write and hash the arguments anew
    every time, which costs more than all else of a remembered answer.
    """

    def __init__(self, read: Callable[P, T], ttl: int, max_entries: int) -> None:
        self._read, self._ttl, self._most = read, ttl, max_entries
        self.answers: dict[Any, Answer[T]] = {}
        self._turns: dict[Any, threading.Lock] = {}

    def clear(self) -> None:
        """Forget what was read."""
        self.answers.clear()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Read it, at most `ttl` seconds old; in place of what takes too long what was read before."""
        key = (args, tuple(sorted(kwargs.items())))
        answer = self._recent(key)
        if answer is None:
            # Who asks meanwhile waits for the one that reads.
            with self._turns.setdefault(key, threading.Lock()):
                answer = self._recent(key) or self._newer(key, *args, **kwargs)
        return answer.value

    def _recent(self, key: Any) -> Answer[T] | None:
        answer = self.answers.get(key)
        return answer if answer is not None and time.monotonic() < answer.recent_until else None

    def _newer(self, key: Any, *args: P.args, **kwargs: P.kwargs) -> Answer[T]:
        at, recent_until = utc_now(), time.monotonic() + self._ttl
        try:
            with time_limit(REFRESHED_SECONDS):
                answer = Answer(self._read(*args, **kwargs), at, recent_until)
        except TooSlow:
            if (last := self.answers.get(key)) is None:
                raise
            _OVERDUE.set(min(last.read_at, _OVERDUE.get() or last.read_at))
            return last
        self.answers.pop(key, None)
        self.answers[key] = answer
        for oldest in list(self.answers)[: -self._most]:
            self.answers.pop(oldest, None)
            self._turns.pop(oldest, None)
        return answer


def refreshed(*, ttl: int, max_entries: int) -> Callable[[Callable[P, T]], Refreshed[P, T]]:
    """Decorate a read of the pages."""
    return lambda read: Refreshed(read, ttl, max_entries)


@contextlib.contextmanager
def or_later() -> Iterator[None]:
    """Say in place of what was not read in time, and never before, that it will be; the rest of the page goes on."""
    try:
        yield
    except TooSlow:
        st.caption(":material/hourglass_disabled: Not read in time; it is tried again by itself.", width="content")


def note(part: str) -> None:
    """Remember of when the oldest is that this part of the page shows in place of what could not be read in time.

    The row above the page says so for all parts: a line of their own would move what stands below it.
    """
    at = _OVERDUE.get()
    _OVERDUE.set(None)
    parts = _parts()
    if at is not None or part in parts:
        others = {name: of for name, of in parts.items() if name != part}
        st.session_state[_PARTS] = others | ({} if at is None else {part: at})


def begin() -> None:
    """Forget the parts, as all of the page is drawn anew."""
    st.session_state[_PARTS] = {}


def as_of(part: str) -> datetime | None:
    """Of when the oldest is that the page shows in place of what is now; None where all is read in time.

    `part` is the one that is being drawn.
    """
    others, now = [at for name, at in _parts().items() if name != part], _OVERDUE.get()
    return min([*others, *([] if now is None else [now])], default=None)


def _parts() -> Mapping[str, datetime]:
    parts: Mapping[str, datetime] = st.session_state.get(_PARTS, {})
    return parts
