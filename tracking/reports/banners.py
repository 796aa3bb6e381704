"""Banners: what is wrong right now with the store, the provider or this console, as texts for every page."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from tracking.forecasting.incidents import MANY_LATE, Incident, LateOrders
from tracking.orders import wording
from tracking.reports.explanations import incident_text
from tracking.reports.health import Health

UNTIL_TAKEN = timedelta(minutes=1)


class Level(StrEnum):
    """How grave it is: an error keeps work from being done, a warning may, an info only explains."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Banner:
    """One banner: plain text, an icon by its Material name, and the filter of the orders that it is about."""

    level: Level
    title: str | None
    text: str
    icon: str
    orders: Mapping[str, str] | None = None


def store_banners(trouble: str | None) -> list[Banner]:
    """Say why the store cannot be written; nothing while it can. Needs no read of the store."""
    if not trouble:
        return []
    until = "Until then nothing is taken in and nothing is sent; then work goes on by itself."
    text = f"{trouble[0].upper() + trouble[1:]}. {until}"
    return [Banner(Level.ERROR, "The store cannot be written", text, "save")]


def health_banners(health: Health, late: LateOrders, now: datetime) -> list[Banner]:
    """List all other banners in the order in which the pages show them."""
    banners = (make(health, now) for make in _HEALTH_BANNERS)
    together = [_late_together(incident, now) for incident in late.incidents]
    return [*together, *_many_late(late, now), *filter(None, banners)]


def _late_together(incident: Incident, now: datetime) -> Banner:
    text = f"{incident_text(incident, now)} It is not one order, it is everyone: ask the provider once."
    # The incident goes by when the provider took its orders, the list by when they were made, which is a little sooner.
    first, last = incident.first - UNTIL_TAKEN, incident.last + timedelta(seconds=1)
    orders = {"view": "late", "each": "true", "from": first.isoformat(), "to": last.isoformat()}
    return Banner(Level.WARNING, "Many orders are late together", text, "groups", orders)


def _many_late(late: LateOrders, now: datetime) -> list[Banner]:
    if late.others < MANY_LATE or late.oldest is None:
        return []
    text = (
        "Nothing shows that one cause made them late together: look at each. "
        f"The first became late {wording.ago(late.oldest, now)}."
    )
    title = f"{late.others:,} orders are late" if not late.incidents else f"{late.others:,} other orders are late"
    return [Banner(Level.WARNING, title, text, "schedule", {"view": "late"})]


def _restored(health: Health, now: datetime) -> Banner | None:
    if (mark := health.restored) is None:
        return None
    waits = f" It waits for the provider: {mark.trouble}." if mark.trouble else ""
    text = (
        f"It is as it was at {wording.clock(mark.taken_at, now)} UTC. The provider is asked what was sent since; "
        f"orders are sent again once that is known. Looks and callbacks go on.{waits}"
    )
    title = "This store was restored from a backup and is being reconciled"
    return Banner(Level.WARNING, title, text, "settings_backup_restore")


def _large_log(health: Health, _now: datetime) -> Banner | None:
    if not health.wal_bytes:
        return None
    text = (
        f"Its write-ahead log has grown to {health.wal_bytes // 2**20} MB. End the program that reads it for so long: "
        "a copy, a backup, a SQL shell."
    )
    return Banner(Level.WARNING, "Something holds the store", text, "hourglass_top")


def _credentials_refused(health: Health, _now: datetime) -> Banner | None:
    if not health.refused:
        return None
    text = "Check TRACKING_API_EMAIL and TRACKING_API_ACCESS_TOKEN, or ask the provider; then start again."
    return Banner(Level.ERROR, "The provider refuses the credentials", text, "key_off")


def _unreachable(health: Health, now: datetime) -> Banner | None:
    if (since := health.unreachable_since) is None:
        return None
    at = wording.clock(since, now)
    why = f" Why: {health.why_unreachable}." if health.why_unreachable else ""
    text = f"No answer since {at} UTC, {wording.ago(since, now)}.{why} Orders wait and go out by themselves."
    return Banner(Level.ERROR, "The provider cannot be reached", text, "cloud_off")


def _paused(health: Health, now: datetime) -> Banner | None:
    if (until := health.paused_until) is None:
        return None
    text = f"The provider asked for a pause; calls go on at {wording.clock(until, now)} UTC."
    return Banner(Level.INFO, None, text, "pause")


def _webhook_silence(health: Health, now: datetime) -> Banner | None:
    if (alarm := health.webhooks) is None:
        return None
    since = wording.clock(alarm.since, now)
    if alarm.ended_at is not None:
        text = f"Webhooks are heard again: they were silent from {since} to {wording.clock(alarm.ended_at, now)} UTC."
        return Banner(Level.INFO, None, text, "notifications")
    text = (
        f"The last one came at {since} UTC; since then {wording.count(alarm.missed, 'order')} of ours finished without "
        "one. Orders are looked at as if none would come. See whether the provider still reaches TRACKING_PUBLIC_URL."
    )
    return Banner(Level.WARNING, "The webhooks are silent", text, "notifications_off")


def _silent_loops(health: Health, _now: datetime) -> Banner | None:
    if not health.silent:
        return None
    text = (
        f"No sign of life for over a minute from: {', '.join(health.silent)}. See the log of that process; "
        "where none runs, start the console or a worker."
    )
    return Banner(Level.ERROR, "A loop is silent", text, "heart_broken")


_HEALTH_BANNERS: tuple[Callable[[Health, datetime], Banner | None], ...] = (
    _restored,
    _large_log,
    _credentials_refused,
    _unreachable,
    _paused,
    _webhook_silence,
    _silent_loops,
)
