"""Webhook throttling: a token bucket of refusals for each source, and a bounded number of bodies read at once.

A token can be judged only once the body has named its order, and behind a proxy the provider shares its address with
everybody else. So no source is ever shut out: one whose bucket is empty is still read and judged, but its refusals cost
no log line and no row, and its bodies must be small. Where too many bodies are read at once, the one that has been
read longest is given up, and never the newcomer: a genuine call arrives whole within moments.

Memory is bounded whatever comes: the sources that were refused longest ago are forgotten first, with their bucket.
"""

import asyncio
import contextlib
import ipaddress
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime

SOURCES_REMEMBERED = 10_000
BURST = 20.0
REFILL = 1.0
READ_SLOTS = 256
READ_SLOTS_PER_SOURCE = 64


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
class TokenBucket:
    """A source's tokens, one for each refusal it may still cause, as they were at a time."""

    tokens: float
    at: datetime


class RefusalLimits:
    """Limits refused calls by a token bucket for each source: BURST at once, then REFILL a second.

    Args:
        sources: how many are remembered.
        burst: refusals a source may cause at once.
        refill: refusals a second it may go on with.
    """

    def __init__(self, sources: int = SOURCES_REMEMBERED, burst: float = BURST, refill: float = REFILL) -> None:
        self._most = sources
        self._burst = burst
        self._refill = refill
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def __len__(self) -> int:
        """The number of sources remembered."""
        return len(self._buckets)

    def exhausted(self, source: str, now: datetime) -> bool:
        """Tell whether the source has no token left for now."""
        bucket = self._buckets.get(source)
        return bucket is not None and self._tokens(bucket, now) < 1

    def take(self, source: str, now: datetime) -> bool:
        """Take a token for a refusal of the source; returns whether there was one."""
        bucket = self._buckets.pop(source, None) or TokenBucket(self._burst, now)
        tokens = self._tokens(bucket, now)
        within = tokens >= 1
        self._buckets[source] = TokenBucket(tokens - 1 if within else tokens, now)
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        return within

    def _tokens(self, bucket: TokenBucket, now: datetime) -> float:
        """Refill: a clock that was set back gives nothing and takes nothing."""
        passed = max((now - bucket.at).total_seconds(), 0.0)
        return min(self._burst, bucket.tokens + passed * self._refill)


class ReadSlots:
    """Bounds the bodies that are read at once, over all and from each source.

    Args:
        most: how many may be read at once.
        most_of_a_source: how many of these may come from one source.
    """

    def __init__(self, most: int = READ_SLOTS, most_of_a_source: int = READ_SLOTS_PER_SOURCE) -> None:
        self._most = most
        self._most_of_a_source = most_of_a_source
        self._all: dict[asyncio.Timeout, str] = {}
        self._by_source: dict[str, dict[asyncio.Timeout, None]] = {}

    def __len__(self) -> int:
        """The number of bodies being read."""
        return len(self._all)

    @contextlib.asynccontextmanager
    async def slot(self, source: str, seconds: float) -> AsyncIterator[None]:
        """Hold a slot for one body, for so many seconds at the most.

        Raises:
            TimeoutError: the time is over, or others needed the slot and this one had been held longest.
        """
        async with asyncio.timeout(seconds) as limit:
            self._add(source, limit)
            try:
                yield
            finally:
                self._remove(limit)

    def _add(self, source: str, limit: asyncio.Timeout) -> None:
        of_source = self._by_source.get(source, {})
        if len(of_source) >= self._most_of_a_source:
            self._evict(next(iter(of_source)))
        elif len(self._all) >= self._most:
            self._evict(next(iter(self._all)))
        self._all[limit] = source
        self._by_source.setdefault(source, {})[limit] = None

    def _evict(self, oldest: asyncio.Timeout) -> None:
        self._remove(oldest)
        oldest.reschedule(0)  # long past on the loop's clock: its reader wakes with TimeoutError

    def _remove(self, limit: asyncio.Timeout) -> None:
        source = self._all.pop(limit, None)
        if source is None:
            return
        of_source = self._by_source[source]
        del of_source[limit]
        if not of_source:
            del self._by_source[source]
