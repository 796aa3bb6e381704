"""Limits of callers: requests a second for each token, and how many requests are answered at once."""

import time
from collections.abc import Callable

PER_SECOND = 20.0
AT_ONCE = 60.0  # what has gathered for a token that did not ask for a while
AWAITED_AT_MOST = 64  # requests that are answered or wait for it; more are turned away at once
THREADS = 8


class RateLimit:
    """So many requests a second for each token, and some at once; what is not used gathers up to that."""

    def __init__(
        self, per_second: float = PER_SECOND, at_once: float = AT_ONCE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_second, self._at_once, self._clock = per_second, at_once, clock
        self._left: dict[int, tuple[float, float]] = {}  # by token: how many may come, as of when

    def wait(self, token_id: int) -> float:
        """Take a request of the token; 0, or the seconds that it has to wait, and then it was not taken."""
        now = self._clock()
        left, at = self._left.get(token_id, (self._at_once, now))
        left = min(self._at_once, left + (now - at) * self._per_second)
        if left < 1:
            return (1 - left) / self._per_second
        self._left[token_id] = left - 1, now
        return 0.0
