"""Banners: what is wrong right now with the database, the provider or this console, one line each, for every page."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tracking.forecasting.incidents import MANY_LATE, Incident, LateOrders
from tracking.orders import wording
from tracking.orders.policy.approval_limit import APPROVAL_OFF
from tracking.provider.http.contract_changes import GONE, NEW
from tracking.reports.explanations import incident_text
from tracking.reports.health import Health, Level
from tracking.settings.alerts import AlertRule

UNTIL_TAKEN = timedelta(minutes=1)
_GRAVITY = {level: place for place, level in enumerate((Level.ERROR, Level.WARNING, Level.INFO))}


@dataclass(frozen=True, slots=True)
class Banner:
    """One banner: a line of plain text, an icon by its Material name, and the filter of the orders that it is about.

    `details` say what it means and what to do, where the line does not. `logs` is the address on the Logs page of what
    it is about, where that is no order. `rule` is the alert that goes out about it, none where none does, `since` when
    it began, where that is known, and `subjects` what it is of, where there is an alert for each.
    """

    level: Level
    text: str
    icon: str
    details: str | None = None
    orders: Mapping[str, str] | None = None
    logs: Mapping[str, str] | None = None
    rule: AlertRule | None = None
    since: datetime | None = None
    subjects: tuple[str, ...] = ("",)


def store_banners(trouble: str | None) -> list[Banner]:
    """Say why the database cannot be written; nothing while it can. Needs no read of it."""
    if not trouble:
        return []
    text = "The database cannot be written: nothing is received or sent until it can"
    details = f"{trouble[0].upper() + trouble[1:]}. Work resumes automatically as soon as the database can be written."
    return [Banner(Level.ERROR, text, "save", details, rule=AlertRule.STORE)]


def approval_banners(*, off: bool) -> list[Banner]:
    """Say that a limit is set and not in force, as nobody signs in."""
    text = "Orders are sent without an approval: the limit that is set needs people to sign in"
    return [Banner(Level.WARNING, text, "approval", f"{APPROVAL_OFF}.")] if off else []


def health_banners(health: Health, late: LateOrders, now: datetime) -> list[Banner]:
    """List all other banners in the order in which the pages show them: the gravest first."""
    banners = (make(health, now) for make in _HEALTH_BANNERS)
    together = [_late_together(incident, health, now) for incident in late.incidents]
    return sorted([*together, *_many_late(late, now), *filter(None, banners)], key=lambda each: _GRAVITY[each.level])


def _late_together(incident: Incident, health: Health, now: datetime) -> Banner:
    placed = f"placed {wording.clock(incident.first, now)} to {wording.clock(incident.last, now)}"
    text = f"{incident.late:,} of {incident.orders:,} orders {placed} are late: contact the provider once"
    details = f"{incident_text(incident, now)} Provider-wide: contact them once for all of these orders."
    # The incident goes by when the provider took its orders, the list by when they were made, which is a little sooner.
    first, last = incident.first - UNTIL_TAKEN, incident.last + timedelta(seconds=1)
    orders = {"view": "late", "each": "true", "from": first.isoformat(), "to": last.isoformat()}
    since, late_since = health.unanswered_since, incident.late_since
    if since is None or late_since is None or late_since < since:
        alert: dict[str, Any] = {"rule": AlertRule.EVERYONE_LATE, "since": late_since, "subjects": incident.types()}
        return Banner(Level.WARNING, text, "groups", details, orders, **alert)
    text = f"{incident.late:,} orders {placed} are due; nothing could be polled since {wording.clock(since, now)}"
    details = "They may be complete: no call was answered since then. They are polled as soon as the provider answers."
    return Banner(Level.INFO, text, "groups", details, orders)


def _many_late(late: LateOrders, now: datetime) -> list[Banner]:
    if late.others < MANY_LATE or late.oldest is None:
        return []
    text = f"{late.others:,} {'other ' if late.incidents else ''}orders are late, without a common cause"
    details = (
        "No single cause shows: check them one by one. "
        f"The first of them has been late since {wording.clock(late.oldest, now)} ({wording.ago(late.oldest, now)})."
    )
    return [Banner(Level.WARNING, text, "schedule", details, {"view": "late"}, rule=AlertRule.LATE)]


def _restored(health: Health, now: datetime) -> Banner | None:
    if (mark := health.restored) is None:
        return None
    waits = f" Waiting for the provider: {mark.trouble}." if mark.trouble else ""
    details = (
        f"The database is a copy made at {wording.clock(mark.taken_at, now)}. The provider is asked what was sent "
        f"since then; sending resumes once that is known. Polls and webhooks continue.{waits}"
    )
    text = "Restored from a backup: sending is on hold until the provider has been checked"
    return Banner(Level.WARNING, text, "settings_backup_restore", details)


def _large_log(health: Health, _now: datetime) -> Banner | None:
    if not health.wal_bytes:
        return None
    text = f"Database log is growing (open reader): {health.wal_bytes // 2**20} MB"
    details = "Close the program that keeps reading the database, such as a copy, a backup or a SQL shell."
    return Banner(Level.WARNING, text, "hourglass_top", details)


def _credentials_refused(health: Health, _now: datetime) -> Banner | None:
    if not health.refused:
        return None
    details = "Check TRACKING_API_EMAIL and TRACKING_API_ACCESS_TOKEN, or ask the provider; then restart."
    text = "The provider refuses the credentials: nothing is sent or polled"
    return Banner(Level.ERROR, text, "key_off", details, rule=AlertRule.REFUSED, since=health.unanswered_since)


def _unreachable(health: Health, now: datetime) -> Banner | None:
    if (since := health.unreachable_since) is None:
        return None
    text = f"Provider unreachable since {wording.clock(since, now)} ({wording.ago(since, now)}); orders are queued"
    why = f"Reason: {health.why_unreachable}. " if health.why_unreachable else ""
    details = f"{why}Orders are queued and will be sent automatically."
    return Banner(Level.ERROR, text, "cloud_off", details, rule=AlertRule.UNREACHABLE, since=since)


def _paused(health: Health, now: datetime) -> Banner | None:
    if (until := health.paused_until) is None:
        return None
    why = "The provider is unavailable (503)" if health.unavailable else "The provider asked for a pause"
    text = f"{why}; API calls resume at {wording.clock(until, now)}"
    if health.unavailable:
        return Banner(Level.WARNING, text, "pause", "Orders are queued and will be sent automatically.")
    return Banner(Level.INFO, text, "pause")


def _webhook_silence(health: Health, now: datetime) -> Banner | None:
    if (alarm := health.webhooks) is None:
        return None
    since = wording.clock(alarm.since, now)
    if alarm.ended_at is not None:
        text = f"Webhooks are arriving again: none came from {since} to {wording.clock(alarm.ended_at, now)}"
        return Banner(Level.INFO, text, "notifications")
    text = f"No webhooks since {since}: {wording.count(alarm.missed, 'order')} completed without one"
    details = (
        "Orders are polled as if no webhook would come. "
        "Check that the provider can reach the address in TRACKING_PUBLIC_URL."
    )
    return Banner(Level.WARNING, text, "notifications_off", details, rule=AlertRule.WEBHOOKS, since=alarm.since)


def _silent_loops(health: Health, _now: datetime) -> Banner | None:
    if not health.silent:
        return None
    text = f"Background worker not responding: {', '.join(health.silent)}"
    details = (
        "No heartbeat for over a minute. Check the log of its process; "
        "if none is running, start the console or `tracking worker`."
    )
    return Banner(Level.ERROR, text, "heart_broken", details, rule=AlertRule.WORKERS)


def _left_out(health: Health, _now: datetime) -> Banner | None:
    if not health.left_out:
        return None
    text = f"More orders are open than can be weighed at once: {health.left_out:,} wait for their planned poll"
    details = (
        "Those that a webhook announced or somebody asked for are polled first, then those whose poll is due. "
        "The others are polled when that is planned and no sooner, so their completion may be noticed later."
    )
    return Banner(Level.INFO, text, "low_priority", details)


def _low_balance(health: Health, now: datetime) -> Banner | None:
    if (low := health.low_balance) is None:
        return None
    left, least = (wording.money(minor, low.currency) for minor in (low.available_minor, low.below_minor))
    details = (
        f"Read {wording.ago(low.read_at, now)}. The provider refuses an order that the balance does not cover; "
        "pay in, then such orders can be sent again."
    )
    text = f"The balance is {left}, below {least}"
    return Banner(Level.WARNING, text, "account_balance_wallet", details, rule=AlertRule.BALANCE)


def _contract(health: Health, now: datetime) -> Banner | None:
    if not health.contract:
        return None
    numbers = {change: sum(each.number for each in health.contract if each.change == change) for change in (NEW, GONE)}
    text = (
        f"The provider's API changed: {' and '.join(f'{number} {word}' for word, number in numbers.items() if number)}"
    )
    sentences = (f"{each.text} ({wording.clock(each.at, now)})" for each in health.contract)
    details = f"{'. '.join(sentences)}. Orders go on; mark it as read in the contract log."
    return Banner(Level.INFO, text, "contract", details, logs={"what": "contract"})


def _hooks_off(health: Health, _now: datetime) -> Banner | None:
    if not health.hooks_off:
        return None
    names = ", ".join(f"“{wording.plain(name)}”" for name in health.hooks_off)
    text = f"Outgoing webhooks to {names} are switched off, as they failed"
    details = (
        "What they are to tell waits, for 30 days. Fix the receiver, then resume them under Team, Outgoing webhooks."
    )
    return Banner(Level.WARNING, text, "webhook", details)


_HEALTH_BANNERS: tuple[Callable[[Health, datetime], Banner | None], ...] = (
    _restored,
    _large_log,
    _credentials_refused,
    _unreachable,
    _paused,
    _webhook_silence,
    _silent_loops,
    _left_out,
    _low_balance,
    _hooks_off,
    _contract,
)
