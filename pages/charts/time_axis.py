"""A time axis on which long gaps without news are cut short, with their length written where they were."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from tracking.orders.wording import TIME_ZONE

LONG_GAP = timedelta(minutes=1)
"""What is shorter is never cut."""
DOMINANT = 6.0
"""A gap is cut where it is so many times as long as all that is not cut."""
MOST_CUTS = 3
"""More cuts would leave no axis to read times on: then none is made."""
CUT_SHARE = 0.14
"""Of the length of what is not cut, how wide a cut is drawn."""
TICKS = 7
_STEPS = tuple(
    timedelta(seconds=seconds)
    for seconds in (
        *(1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400),
        *(172_800, 604_800, 1_209_600, 2_592_000, 7_776_000),
    )
)
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of time and where it lies on the axis, both in seconds; `cut` is drawn shorter than it was."""

    since: datetime
    until: datetime
    start: float
    width: float
    cut: bool

    @property
    def length(self) -> timedelta:
        """How long it was."""
        return self.until - self.since


class TimeAxis:
    """Places moments on an axis of numbers: one to a second, except in long gaps between the moments it is made for."""

    def __init__(self, moments: Iterable[datetime]) -> None:
        ends = sorted(set(moments))
        if len(ends) < 2:
            ends = [ends[0], ends[0] + timedelta(seconds=1)]
        gaps = [(until - since).total_seconds() for since, until in pairwise(ends)]
        cut_from, uncut = _cut_from(gaps)
        self.pieces: list[Piece] = []
        start = 0.0
        for since, until, gap in zip(ends, ends[1:], gaps, strict=False):
            cut = gap >= cut_from
            width = uncut * CUT_SHARE if cut else gap
            if self.pieces and not cut and not self.pieces[-1].cut:
                last = self.pieces.pop()
                self.pieces.append(Piece(last.since, until, last.start, last.width + width, cut=False))
            else:
                self.pieces.append(Piece(since, until, start, width, cut))
            start += width
        self.width = start

    @property
    def cuts(self) -> list[Piece]:
        """The gaps that were cut short."""
        return [piece for piece in self.pieces if piece.cut]

    def at(self, moment: datetime) -> float:
        """Where the moment lies; what is beyond an end goes on at a second to a second."""
        first, last = self.pieces[0], self.pieces[-1]
        if moment < first.since:
            return first.start - (first.since - moment).total_seconds()
        if moment >= last.until:
            return last.start + last.width + (moment - last.until).total_seconds()
        piece = next(each for each in self.pieces if moment < each.until)
        return piece.start + piece.width * ((moment - piece.since) / piece.length)

    def clock_ticks(self) -> tuple[list[float], list[str]]:
        """Ticks at round times of the reader's clock, the day below the first and wherever it changes."""
        zone, step = TIME_ZONE.get(), self._step()
        places, texts, day = [], [], ""
        for moment in self._ticks(step, lambda since: _floor(since, step)):
            local = moment.astimezone(zone)
            text = local.strftime("%H:%M:%S" if step < timedelta(minutes=1) else "%H:%M")
            date = f"{local:%b} {local.day}"
            places.append(self.at(moment))
            texts.append(date if step >= _DAY else text if date == day else f"{text}<br>{date}")
            day = date
        return places, texts

    def elapsed_ticks(self) -> tuple[list[float], list[str]]:
        """Ticks at round times since the beginning: "+10 s"."""
        step, begin = self._step(), self.pieces[0].since
        moments = list(self._ticks(step, lambda since: begin + (since - begin) // step * step))
        units = 2 if step >= timedelta(minutes=1) else 3  # else ticks of one minute would all say the same
        return [self.at(moment) for moment in moments], [_elapsed(moment - begin, units) for moment in moments]

    def _step(self) -> timedelta:
        uncut = sum((piece.length for piece in self.pieces if not piece.cut), timedelta())
        return next((step for step in _STEPS if uncut / step <= TICKS), _STEPS[-1])

    def _ticks(self, step: timedelta, floor: Callable[[datetime], datetime]) -> Iterator[datetime]:
        """The first tick of each piece and every further step, none within a cut and none close to the one before."""
        nearest, room = None, self.width / TICKS / 1.6
        for piece in self.pieces:
            if piece.cut:
                continue
            tick = floor(piece.since)
            while tick <= piece.until:
                if tick >= piece.since and (nearest is None or self.at(tick) - nearest >= room):
                    nearest = self.at(tick)
                    yield tick
                tick += step


def _cut_from(gaps: Sequence[float]) -> tuple[float, float]:
    """From what length on gaps are cut (infinite: none is), and how long all others are together."""
    ordered = sorted(gaps, reverse=True)
    for number in range(min(len(ordered), MOST_CUTS), 0, -1):
        shortest, rest = ordered[number - 1], sum(ordered[number:])
        if shortest >= LONG_GAP.total_seconds() and rest >= 1.0 and shortest > DOMINANT * rest:
            return shortest, rest
    return float("inf"), sum(ordered)


def _floor(moment: datetime, step: timedelta) -> datetime:
    """The last round time of the reader's clock before the moment."""
    local = moment.astimezone(TIME_ZONE.get())
    offset = local.utcoffset() or timedelta()
    since = moment - datetime.min.replace(tzinfo=UTC) + offset
    return moment - since % step


def _elapsed(length: timedelta, units: int) -> str:
    """The length in at most so many units, without those that are zero: "+15 h 30 min", "+2 d"."""
    seconds, parts = int(length.total_seconds()), []
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        number, seconds = divmod(seconds, size)
        if number:
            parts.append(f"{number} {unit}")
    return f"+{' '.join(parts[:units]) or '0 s'}"
