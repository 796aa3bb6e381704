"""Alerts in settings: which services they go to, which rules are off, and the hours in which messages wait."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from enum import StrEnum
from typing import Annotated, Any, Self
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, SecretStr
from pydantic_settings import NoDecode


class AlertRule(StrEnum):
    """The kinds of trouble that alerts tell of, by the words that settings and the command line use. Stored."""

    STORE = "store"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    WORKERS = "workers"
    EVERYONE_LATE = "everyone-late"
    LATE = "late"
    DECISION = "decision"
    UNCONFIRMED = "unconfirmed"
    WEBHOOKS = "webhooks"
    DELIVERIES = "deliveries"
    BALANCE = "balance"


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From when until when, each day in this zone, messages wait; `begin` may be later in the day than `end`."""

    begin: time
    end: time
    zone: str = "UTC"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read hours such as "22:00-06:00" or "22:00-06:00 Europe/Berlin". Raises ValueError that says why not."""
        match = re.fullmatch(r"\s*(\d{1,2}:\d\d)\s*-\s*(\d{1,2}:\d\d)(?:\s+(\S+))?\s*", text)
        if match is None:
            raise ValueError("must be hours as in 22:00-06:00, in UTC, or with a time zone: 22:00-06:00 Europe/Berlin")
        begin, end = (_time_of_day(part) for part in match.group(1, 2))
        if begin == end:
            raise ValueError("begins when it ends: name hours as in 22:00-06:00, or leave it out")
        return cls(begin, end, _zone(match.group(3) or "UTC"))

    def until(self, at: datetime) -> datetime | None:
        """When the quiet hours end that it is in; None outside of them."""
        zone: tzinfo = UTC if self.zone == "UTC" else ZoneInfo(self.zone)
        local = at.astimezone(zone)
        for days_back in (0, 1):
            begin = datetime.combine(local.date() - timedelta(days=days_back), self.begin, zone)
            last_day = begin.date() + timedelta(days=self.end < self.begin)
            end = datetime.combine(last_day, self.end, zone)
            if begin <= local < end:
                return end.astimezone(UTC)
        return None

    def __str__(self) -> str:
        """The hours for people."""
        return f"{self.begin:%H:%M}-{self.end:%H:%M} {self.zone}"


def _time_of_day(text: str) -> time:
    try:
        return time.fromisoformat(text.zfill(5))
    except ValueError as exc:
        raise ValueError(f"has {text}, which is no time of day: write hours from 00:00 to 23:59") from exc


def _zone(name: str) -> str:
    try:
        return ZoneInfo(name).key
    except (KeyError, OSError, ValueError) as exc:
        raise ValueError("names a time zone that there is not: write it as in Europe/Berlin, or leave it out") from exc


def read_quiet(value: Any) -> Any:
    """Read the quiet hours in a setting; None for a blank one. Raises ValueError where they cannot be used."""
    return QuietHours.parse(value) if isinstance(value, str) and value.strip() else value or None


def read_rules(value: Any) -> Any:
    """Split names of rules at their commas. Raises ValueError for one that there is not."""
    if not isinstance(value, str):
        return value
    names = [name.strip().lower() for name in value.split(",") if name.strip()]
    rules = [rule.value for rule in AlertRule]
    if wrong := [name for name in names if name not in rules]:
        raise ValueError(f"does not know {', '.join(wrong)}; use some of {', '.join(rules)}")
    return names


# Never a plain text: an address of a service holds its password or token.
Addresses = SecretStr | None
Quiet = Annotated[QuietHours | None, NoDecode, BeforeValidator(read_quiet)]
RulesOff = Annotated[tuple[AlertRule, ...], NoDecode, BeforeValidator(read_rules)]
