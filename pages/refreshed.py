"""Reads that are remembered for a few seconds by all pages; one that takes too long is shown as it was before.

A read that refreshes by itself has a moment. Where that is over, what was read last stays on the screen, and the page
says so, and of when it is.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Generic, ParamSpec, TypeVar

import streamlit as st

from tracking.errors import TooSlow
from tracking.orders.observations import utc_now
from tracking.storage.reading.time_limits import REFRESHED_SECONDS, time_limit

P = ParamSpec("P")
T = TypeVar("T")
_OVERDUE = "read_overdue"  # in the session: of when the oldest is that this run shows in place of what is now
_PARTS = "overdue_parts"  # in the session: the same of each part of the page, by its name


class Refreshed(Generic[P, T]):
    """A read whose answer is remembered for `ttl` seconds, and the last one of each for as long as none is newer."""

    def __init__(self, read: Callable[P, T], ttl: int, max_entries: int) -> None:
        self._cached = st.cache_resource(ttl=ttl, max_entries=max_entries, show_spinner=False)(_limited(read))
        self._last: dict[Any, tuple[datetime, T]] = {}
        self._most = max_entries

    def clear(self) -> None:
        """Forget what was read."""
        self._cached.clear()
        self._last.clear()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Read it, at most `ttl` seconds old; in place of what takes too long what was read before."""
        key = (args, tuple(sorted(kwargs.items())))
        try:
            read_at, answer = self._cached(*args, **kwargs)
        except TooSlow:
            if key not in self._last:
                raise
            read_at, answer = self._last[key]
            st.session_state[_OVERDUE] = min(read_at, st.session_state.get(_OVERDUE) or read_at)
            return answer
        self._last.pop(key, None)
        self._last[key] = read_at, answer
        for oldest in list(self._last)[: -self._most]:
            self._last.pop(oldest, None)
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
        st.caption(
            ":material/hourglass_disabled: Not read in time", width="content", help="It is tried again by itself."
        )


def note(part: str) -> None:
    """Remember of when the oldest is that this part of the page shows in place of what could not be read in time.

    The row above the page says so for all parts: a line of their own would move what stands below it.
    """
    at, parts = st.session_state.pop(_OVERDUE, None), dict(st.session_state.get(_PARTS, {}))
    parts.pop(part, None)
    st.session_state[_PARTS] = parts | ({} if at is None else {part: at})


def begin() -> None:
    """Forget the parts, as all of the page is drawn anew."""
    st.session_state[_PARTS] = {}


def as_of(part: str) -> datetime | None:
    """Of when the oldest is that the page shows in place of what is now; None where all is read in time.

    `part` is the one that is being drawn.
    """
    others = [at for name, at in st.session_state.get(_PARTS, {}).items() if name != part]
    now = st.session_state.get(_OVERDUE)
    return min([*others, *([] if now is None else [now])], default=None)


def _limited(read: Callable[P, T]) -> Callable[P, tuple[datetime, T]]:
    @functools.wraps(read)
    def within(*args: P.args, **kwargs: P.kwargs) -> tuple[datetime, T]:
        at = utc_now()
        with time_limit(REFRESHED_SECONDS):
            return at, read(*args, **kwargs)

    return within
