"""Whom the receiver has time for: an allowance of refusals for each source, and a bound on bodies that arrive slowly.

A token can be judged only once the body has named its order, and behind a proxy the provider shares its address with
everybody else. So no source is ever shut out: one that has used up its allowance is still read and judged, but its
refusals cost no log line and no row, and its bodies must be small. Where too many bodies are on their way at once, the
one that has been longest on its way gives way, and never the newcomer: a genuine call arrives whole within moments.

Memory is bounded whatever comes: the sources that were refused longest ago are forgotten first, with their allowance.
"""

import asyncio
import contextlib
import ipaddress
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime

SOURCES = 10_000
BURST = 20.0
REFILL = 1.0
OPEN_READS = 256
OPEN_READS_OF_A_SOURCE = 64


def source_of(host: str | None) -> str:
    """What counts as one source: an IPv4 address, or an IPv6 network of 64 bits, all of which one caller may own."""
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
class _Bucket:
    tokens: float
    at: datetime


class Allowances:
    """A token bucket of refused calls for each source: BURST at once, then REFILL a second.

    Args:
        sources: how many are remembered.
        burst: refusals a source may cause at once.
        refill: refusals a second it may go on with.
    """

    def __init__(self, sources: int = SOURCES, burst: float = BURST, refill: float = REFILL) -> None:
        self._most = sources
        self._burst = burst
        self._refill = refill
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        """The number of sources remembered."""
        return len(self._buckets)

    def spent(self, source: str, now: datetime) -> bool:
        """Whether the source has used up its allowance for now."""
        bucket = self._buckets.get(source)
        return bucket is not None and self._tokens(bucket, now) < 1

    def charge(self, source: str, now: datetime) -> bool:
        """Counts a refusal of the source; whether that was within its allowance."""
        bucket = self._buckets.pop(source, None) or _Bucket(self._burst, now)
        tokens = self._tokens(bucket, now)
        within = tokens >= 1
        self._buckets[source] = _Bucket(tokens - 1 if within else tokens, now)
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        return within

    def _tokens(self, bucket: _Bucket, now: datetime) -> float:
        """What has gathered again; a clock that was set back gives nothing and takes nothing."""
        passed = max((now - bucket.at).total_seconds(), 0.0)
        return min(self._burst, bucket.tokens + passed * self._refill)


class OpenReads:
    """The bodies that are on their way, a bounded number over all and of each source.

    Args:
        most: how many may be on their way at once.
        most_of_a_source: how many of these may come from one source.
    """

    def __init__(self, most: int = OPEN_READS, most_of_a_source: int = OPEN_READS_OF_A_SOURCE) -> None:
        self._most = most
        self._most_of_a_source = most_of_a_source
        self._all: dict[asyncio.Timeout, str] = {}
        self._by_source: dict[str, dict[asyncio.Timeout, None]] = {}

    def __len__(self) -> int:
        """The number of bodies on their way."""
        return len(self._all)

    @contextlib.asynccontextmanager
    async def reading(self, source: str, seconds: float) -> AsyncIterator[None]:
        """Room for one body, for so long at the most.

        Raises:
            TimeoutError: the time is over, or others needed the room and this one had been there longest.
        """
        async with asyncio.timeout(seconds) as limit:
            self._enter(source, limit)
            try:
                yield
            finally:
                self._leave(limit)

    def _enter(self, source: str, limit: asyncio.Timeout) -> None:
        of_source = self._by_source.get(source, {})
        if len(of_source) >= self._most_of_a_source:
            self._displace(next(iter(of_source)))
        elif len(self._all) >= self._most:
            self._displace(next(iter(self._all)))
        self._all[limit] = source
        self._by_source.setdefault(source, {})[limit] = None

    def _displace(self, longest: asyncio.Timeout) -> None:
        self._leave(longest)
        longest.reschedule(0)  # long past on the loop's clock: its reader wakes with TimeoutError

    def _leave(self, limit: asyncio.Timeout) -> None:
        source = self._all.pop(limit, None)
        if source is None:
            return
        of_source = self._by_source[source]
        del of_source[limit]
        if not of_source:
            del self._by_source[source]
