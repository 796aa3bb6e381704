"""Webhook throttling: a token bucket of refusals for each source, and a bounded number of bodies read at once.

A token can be judged only once the body has named its order, and behind a proxy the provider shares its address with
everybody else. So no source is ever shut out: one whose bucket is empty is still read and judged, but its refusals cost
no log line and no row, and its bodies must be small. Where too many bodies are read at once, the one that has been
read longest is given up, and never the newcomer: a genuine call arrives whole within moments.

Memory is bounded whatever comes: the sources that were refused longest ago are forgotten first, with their bucket.
"""

import asyncio
import contextlib
import functools
import ipaddress
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime


@functools.lru_cache(maxsize=1000)
def source_of(host: str | None) -> str:
    """Name the source of a call: its IPv4 address, or its IPv6 network of 64 bits, all of which one caller may own."""
    try:
        address = ipaddress.ip_address((host or "").partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
    return str(address)


@dataclass(slots=True)
class RefusalLimits:
    """Limits refused calls by a token bucket for each source: `burst` at once, then `refill` a second.

    `buckets` holds the tokens of each source, one for each refusal it may still cause, and as of when; of so many
    `sources` at the most, the one that was refused longest ago first.
    """

    sources: int = 10_000
    burst: float = 20.0
    refill: float = 1.0
    buckets: dict[str, tuple[float, datetime]] = field(default_factory=dict)

    def exhausted(self, source: str, now: datetime) -> bool:
        """Tell whether the source has no token left for now."""
        return self._tokens(source, now) < 1

    def take(self, source: str, now: datetime) -> bool:
        """Take a token for a refusal of the source; returns whether there was one."""
        tokens = self._tokens(source, now)
        within = tokens >= 1
        self.buckets.pop(source, None)
        self.buckets[source] = (tokens - 1 if within else tokens, now)
        if len(self.buckets) > self.sources:
            del self.buckets[next(iter(self.buckets))]
        return within

    def _tokens(self, source: str, now: datetime) -> float:
        """The tokens now, with those refilled since; a clock that was set back neither gives nor takes any."""
        tokens, at = self.buckets.get(source, (self.burst, now))
        return min(self.burst, tokens + max((now - at).total_seconds(), 0.0) * self.refill)


@dataclass(slots=True)
class ReadSlots:
    """Bounds the bodies that are read at once: `most` over all, `most_of_a_source` from each. The oldest are first."""

    most: int = 256
    most_of_a_source: int = 64
    sources: dict[asyncio.Timeout, str] = field(default_factory=dict)

    @contextlib.asynccontextmanager
    async def slot(self, source: str, seconds: float) -> AsyncIterator[None]:
        """Hold a slot for one body, for so many seconds at the most.

        Raises:
            TimeoutError: the time is over, or others needed the slot and this one had been held longest.
        """
        async with asyncio.timeout(seconds) as limit:
            of_source = [other for other, holder in self.sources.items() if holder == source]
            if len(of_source) >= self.most_of_a_source:
                self._evict(of_source[0])
            elif len(self.sources) >= self.most:
                self._evict(next(iter(self.sources)))
            self.sources[limit] = source
            try:
                yield
            finally:
                self.sources.pop(limit, None)

    def _evict(self, oldest: asyncio.Timeout) -> None:
        del self.sources[oldest]
        oldest.reschedule(0)  # long past on the loop's clock: its reader wakes with TimeoutError
