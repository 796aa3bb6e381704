"""Lists alerts for people: current and past ones, where messages go, and the state of each in words."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tracking.alerting import lifecycle
from tracking.alerting.lifecycle import Policy
from tracking.alerting.rules import ALL, GROUPED_EVERY, RULES
from tracking.orders import wording
from tracking.settings.alerts import QuietHours
from tracking.storage.database import Database
from tracking.storage.integration import alerts as stored
from tracking.storage.integration.alerts import Alert, Lead, Snooze
from tracking.webhooks.silence_alarm import Arming, read_arming

LISTED = 200


@dataclass(frozen=True, slots=True)
class AlertList:
    """The alerts, as pages and the command line list them.

    `lasting` and `past` together are the LISTED that began last, and all that last. `lead` is the process that tells of
    them; None where none did in the last minutes, so that `lasting` is as old as `as_of`. `arming`: what the alert that
    no webhooks come rests on.
    """

    lasting: tuple[Alert, ...]
    past: tuple[Alert, ...]
    snoozes: Mapping[str, Snooze]
    lead: Lead | None
    as_of: datetime | None
    arming: Arming

    def state(self, alert: Alert, now: datetime, quiet: QuietHours | None = None) -> str:
        """Say in words whether its message was sent, and if not, why not; `quiet` are the quiet hours."""
        if alert.ended_at is not None:
            return _state_of_past(alert)
        if alert.sent_at is not None:
            return f"sent, but {alert.last_error}" if alert.last_error and alert.next_attempt_at else "sent"
        if alert.last_error:
            return f"{alert.last_error}; tried {wording.count(alert.attempts, 'time')}"
        snoozed = self.snoozes.get(alert.rule) or self.snoozes.get(ALL)
        if snoozed:
            return f"snoozed until {wording.clock(snoozed.until, now)}"
        if alert.detail.get("covered"):
            return "not sent: another alert tells of it"
        if alert.clear_since is not None:
            return "may be over: nothing is sent meanwhile"
        return self._waits(alert, now, quiet) if self.lead else "not sent: no process sends alerts"

    def _waits(self, alert: Alert, now: datetime, quiet: QuietHours | None) -> str:
        if alert.next_attempt_at is not None and alert.next_attempt_at > now:
            return f"to be sent at {wording.clock(alert.next_attempt_at, now)} if it lasts"
        last = {rule: datetime.fromisoformat(at) for rule, at in (self.lead.last if self.lead else {}).items()}
        match Policy(quiet=quiet, last=last).held(alert, now):
            case lifecycle.QUIET if quiet is not None:
                return f"waits for the quiet hours to end, {quiet}"
            case lifecycle.GROUPED:
                at = wording.clock(last[alert.rule] + GROUPED_EVERY, now)
                return f"to be sent at {at}, together with what comes until then"
        return "being sent"


def alert_list(database: Database, now: datetime) -> AlertList:
    """Read the alerts."""
    with database.read() as connection:
        unsettled, newest = stored.unsettled(connection), stored.newest(connection, LISTED)
        lead, snoozes = stored.current_lead(connection), stored.snoozes(connection, now)
        arming = read_arming(connection)
    newest_first = sorted((a for a in unsettled if a.ended_at is None), key=lambda alert: alert.began_at, reverse=True)
    ranks = {name: (rule.of_orders, rank) for rank, (name, rule) in enumerate(RULES.items())}
    # What concerns more than one order comes first.
    lasting = sorted(newest_first, key=lambda alert: ranks.get(alert.rule, (False, 0)))
    past = (alert for alert in newest if alert.ended_at is not None)
    leads = lead if lead and now <= lead.until else None
    as_of = lead.until if lead else None
    return AlertList(tuple(lasting), tuple(past), {one.rule: one for one in snoozes}, leads, as_of, arming)


def _state_of_past(alert: Alert) -> str:
    """What became of its messages; a trouble that was over soon has none."""
    if alert.sent_at is None and alert.end_sent_at is None:
        return (
            "not sent: it could not be delivered" if alert.last_error else "not sent: over before its message was due"
        )
    if alert.end_sent_at is None:
        return "sent; its end not yet" if alert.next_attempt_at else "sent; its end was not"
    return "sent, with its end" if alert.sent_at else "sent once it was over"


def heading(alert: Alert) -> str:
    """The alert in a few words that stay true; its message may hold a number or a time of when it was sent."""
    title = rule_title(alert.rule)
    if RULES[alert.rule].of_orders if alert.rule in RULES else False:
        return str(alert.detail.get("title") or title)
    return f"{title}: {wording.plain(alert.subject)}" if alert.subject else title


def record(alert: Alert, state: str) -> dict[str, Any]:
    """The alert as programs are given it."""
    return {
        "id": alert.id,
        "rule": alert.rule,
        "subject": alert.subject,
        "title": alert.detail.get("title"),
        "began_at": alert.began_at,
        "ended_at": alert.ended_at,
        "sent_at": alert.sent_at,
        "end_sent_at": alert.end_sent_at,
        "sent_to": list(alert.sent_to),
        "state": state,
    }


def rule_title(rule: str) -> str:
    """The title of a rule's trouble; the rule's name itself where a later version of the console added it."""
    return RULES[rule].title if rule in RULES else rule


def silence_standing(arming: Arming) -> tuple[bool, str]:
    """Whether the alert that no webhooks come can come at all yet, and why: "armed: ...", "not armed yet: ..."."""
    if not arming.heard:
        return False, "not armed yet: no webhook of the provider has come"
    if arming.announced is None or arming.finished is None:
        return False, "not armed yet: nothing was learned of orders"
    orders = f"{arming.announced:,} of the newest {wording.count(arming.finished, 'completed order')} placed here"
    if arming.needed is None:
        return False, f"not armed yet: a webhook announced {orders}, too few to tell its absence from chance"
    missing = wording.count(arming.needed, "order")
    return True, f"armed: a webhook announced {orders}; it comes once about {missing} completed without one"
