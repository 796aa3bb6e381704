"""Times as systems write them: ISO 8601, the US form, that of mails, seconds and milliseconds since 1970.

An error is a ValueError without what came in.
"""

import contextlib
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from tracking.provider.scalars.amounts import type_name

_FORMATS = (
    *("%m/%d/%Y %I:%M:%S %p", "%m/%d/%Y %I:%M %p", "%m/%d/%Y %H:%M:%S"),
    *("%b %d %Y %I:%M:%S %p", "%b %d %Y %I:%M %p", "%b %d %Y %I:%M%p"),  # of Java, of SQL Server
    *("%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M"),
)
_USUAL_FORM = re.compile(
    r"(\d\d)/(\d\d)/(\d{4}) (0[1-9]|1[0-2]):(\d\d):(\d\d) ([AP])M", re.ASCII
)  # as webhooks write it
_EPOCH = re.compile(r"(?:/Date\()?(\d{10}(?:\d{3}){0,3})(\.\d{1,9})?(?:[+-]\d{4})?(?:\)/)?", re.ASCII)
_PLAUSIBLE_YEARS = range(2000, 2101)
# The words of a time in mails, with the zones that RFC 5322 knows; what has another word is another time.
_WORDS = re.compile(
    "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|mon|tue|wed|thu|fri|sat|sun"
    "|utc?|gmt|z|ast|adt|est|edt|cst|cdt|mst|mdt|pst|pdt",
    re.IGNORECASE,
)
_ZONE_NAMED = re.compile(r"\[[A-Za-z0-9_/+-]{1,40}\]$", re.ASCII)  # of Java, behind the offset that says it all
_SPACES = str.maketrans(dict.fromkeys("\u00a0\u2009\u202f", " ") | dict.fromkeys("\u200e\u200f"))


def parse_time(text: Any) -> datetime:
    """The time in UTC; UTC too where no zone is named. Reads ISO 8601, the US form, and days before months with points.

    Raises:
        ValueError: it is neither.
    """
    if not isinstance(text, str) or len(text) > 64:
        raise ValueError("is not a time")
    if usual := _USUAL_FORM.fullmatch(text):
        month, day, year, hour, minute, second = map(int, usual.groups()[:6])
        with contextlib.suppress(ValueError):
            return datetime(year, month, day, hour % 12 + 12 * (usual[7] == "P"), minute, second, tzinfo=UTC)
    for time_format in (None, *_FORMATS):
        try:
            at = datetime.strptime(text.strip(), time_format) if time_format else datetime.fromisoformat(text.strip())  # noqa: DTZ007 - the next line gives the zone
            return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
        except (ValueError, OverflowError):
            continue
    raise ValueError("is not a time")


def format_time(at: datetime | None) -> str | None:
    """The time as the provider writes it, in UTC to the second; None for None."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at else None


def time_or_none(text: Any) -> datetime | None:
    """The time as `parse_time` reads it; None where it cannot."""
    try:
        return parse_time(text)
    except ValueError:
        return None


def moment_of(value: Any) -> datetime | None:
    """The time in UTC in whatever form it came: as `parse_time`, of RFC 5322, or seconds or milliseconds since 1970.

    None where it is empty. Raises ValueError for none, and for one in a year that nobody can mean.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str) or len(text := str(value).strip()) > 64:
        raise ValueError(f"is not a time but {type_name(value)}")
    if not text:
        return None
    if epoch := _EPOCH.fullmatch(text):
        return datetime.fromtimestamp(float(epoch[1] + (epoch[2] or "")) / 10 ** (len(epoch[1]) - 10), UTC)
    at = _written_time(_ZONE_NAMED.sub("", text.translate(_SPACES)))
    if at.year not in _PLAUSIBLE_YEARS:
        raise ValueError("is not a time that can be meant")
    return at


def _written_time(text: str) -> datetime:
    """The time as `parse_time` reads it, in its further spellings, else as mails write it."""
    plain = re.sub(r"\s+", " ", re.sub(r" ?(?:UTC|GMT|Z|z)$", "", text).replace(",", "")).strip()
    plain = re.sub(r"(?<=\d) ?([ap])\.?m\.?$", r" \1M", plain, flags=re.IGNORECASE).strip()
    for spelling in (text, plain, plain.replace("/", "-")):
        with contextlib.suppress(ValueError):
            return parse_time(spelling)
    bare = re.sub(r" ?\([^()]*\)$", "", re.sub(r"\b(?:GMT|UTC)(?=[+-]\d{4}\b)", "", text))  # of JavaScript
    if not all(map(_WORDS.fullmatch, re.findall(r"[^\W\d_]+", bare))):
        raise ValueError("is not a time")
    return _mail_time(bare)


def _mail_time(text: str) -> datetime:
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError) as exc:
        raise ValueError("is not a time") from exc
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
