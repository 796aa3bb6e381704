"""Metrics of this process's calls to the provider: number, outcome, duration.

In memory, from the start of the process, as Prometheus counts; the log of calls in the store is for people.
"""

import bisect
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from tracking.provider.call_log import ApiCallRecord

BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds in seconds, as `le` in Prometheus; what took longer is above all of them."""
_ID = re.compile(r"(?<=^/v1/Orders/)[^/?]+")


@dataclass(slots=True)
class Histogram:
    """Durations of the calls of one kind: `counts` by bound, the last beyond all of them, and their sum in seconds."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    seconds: float = 0.0

    def observe(self, seconds: float) -> None:
        """Count one more."""
        self.counts[bisect.bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """List the counts up to each bound, as Prometheus writes them; the last is that of all."""
        total, bounds = 0, [*map(str, BOUNDS), "+Inf"]
        rows: list[tuple[str, float]] = []
        for bound, count in zip(bounds, self.counts, strict=True):
            total += count
            rows.append((bound, total))
        return rows


class CallFigures:
    """Durations by method, endpoint and outcome. Bounded: an order's ID is left out, outcomes are those of errors."""

    def __init__(self) -> None:
        self._histograms: dict[tuple[str, str, str], Histogram] = {}

    def observe(self, call: ApiCallRecord) -> None:
        """Count a call."""
        endpoint = _ID.sub("{id}", call.path.partition("?")[0])
        key = call.method, endpoint, call.outcome.partition(":")[0]
        self._histograms.setdefault(key, Histogram()).observe(call.milliseconds / 1000)

    def __iter__(self) -> Iterator[tuple[tuple[str, str, str], Histogram]]:
        """Go through the histograms by (method, endpoint, outcome)."""
        return iter(list(self._histograms.items()))
