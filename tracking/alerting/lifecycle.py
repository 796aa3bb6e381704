"""Lifecycle of an alert: when its trouble begins and ends, and which message is due when. Pure.

A trouble that ends before it lasted long enough has no message. One that was told of has one more, once it is over.
What no service took while it lasted is told of afterwards, in one message of its begin and its end.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from tracking.alerting.rules import ALL, GROUPED_EVERY, RULES
from tracking.alerting.troubles import Trouble
from tracking.settings.alerts import QuietHours
from tracking.storage.integration.alerts import Alert

UPDATED_EVERY = timedelta(minutes=1)
SETTLED_AFTER = timedelta(seconds=10)
TRIED_FOR = timedelta(days=1)  # the message of an end; that of a begin is tried as long as the trouble lasts
WAITS = tuple(timedelta(seconds=seconds) for seconds in (10, 30, 60, 120, 300, 600, 900))
SNOOZED, QUIET, GROUPED = "snoozed", "quiet hours", "grouped"


@dataclass(frozen=True, slots=True)
class Policy:
    """When what is due is sent: rules that are off, quiet hours, snoozed rules, and when a rule's last message was."""

    off: Collection[str] = ()
    quiet: QuietHours | None = None
    snoozed: Mapping[str, datetime] = field(default_factory=dict)
    last: Mapping[str, datetime] = field(default_factory=dict)

    def held(self, alert: Alert, now: datetime) -> str | None:
        """Say why the alert's message waits although it is due; None where it does not wait."""
        rule = RULES[alert.rule]
        if any(now < self.snoozed[name] for name in (alert.rule, ALL) if name in self.snoozed):
            return SNOOZED
        if not rule.urgent and self.quiet and self.quiet.until(now):
            return QUIET
        before = self.last.get(alert.rule)
        first = rule.of_orders and alert.attempts == 0  # what a service did not take is tried again by itself
        return GROUPED if first and before and timedelta() <= now - before < GROUPED_EVERY else None


def observe(
    alerts: Iterable[Alert], troubles: Iterable[Trouble], services: Sequence[str], policy: Policy, now: datetime
) -> list[Alert]:
    """Bring the alerts up to what is wrong now; returns those that are new or changed."""
    there = {(str(one.rule), one.subject): one for one in troubles if one.rule not in policy.off}
    before = list(alerts)
    after = [_observed(alert, there.get(alert.key), services, policy, now) for alert in before]
    lasting = {alert.key for alert in before if alert.ended_at is None}
    new = [_begun(trouble, now) for key, trouble in there.items() if key not in lasting]
    return [*(new_one for old, new_one in zip(before, after, strict=True) if new_one != old), *new]


def _begun(trouble: Trouble, now: datetime) -> Alert:
    began = min(trouble.since or now, now)
    lasts = RULES[trouble.rule].lasts
    # A trouble known from before a restart may be over without anybody having found out yet.
    due_at = None if trouble.covered else max(began + lasts, now + min(lasts, SETTLED_AFTER))
    return Alert(str(trouble.rule), trouble.subject, trouble.detail(), began, now, next_attempt_at=due_at)


def _observed(alert: Alert, trouble: Trouble | None, services: Sequence[str], policy: Policy, now: datetime) -> Alert:
    if alert.ended_at is not None:
        return replace(alert, next_attempt_at=None) if _given_up(alert, services, now) else _not_too_far(alert, now)
    if trouble is None:
        return _absent(alert, now, off=alert.rule in policy.off)
    current = replace(alert, clear_since=None)
    if trouble.covered or set(services) <= set(alert.sent_to):
        current = replace(current, next_attempt_at=None)
    elif alert.next_attempt_at is None:
        due_at = now if alert.attempts else max(now, alert.began_at + RULES[alert.rule].lasts)
        current = replace(current, next_attempt_at=due_at)
    current = _not_too_far(current, now)
    is_due = current.next_attempt_at is not None and current.next_attempt_at <= now
    if trouble.detail() == alert.detail or not (is_due or _may_update(alert, trouble, now)):
        return current
    return replace(current, detail=trouble.detail(), updated_at=now)


def _may_update(alert: Alert, trouble: Trouble, now: datetime) -> bool:
    """Whether what is stored of it is so old, or so different, that it is worth a write."""
    recently = timedelta() <= now - alert.updated_at < UPDATED_EVERY
    return not recently or trouble.covered != alert.detail.get("covered")


def _absent(alert: Alert, now: datetime, *, off: bool) -> Alert:
    """End the alert once its trouble is gone for a while; meanwhile nothing is sent, as it might be wrong when read."""
    if off:
        return replace(alert, ended_at=now, clear_since=now, next_attempt_at=None)
    since = min(alert.clear_since or now, now)
    if now - since < RULES[alert.rule].clear:
        return replace(alert, clear_since=since, next_attempt_at=None)
    due = now if alert.sent_to or alert.attempts else None
    return replace(alert, clear_since=since, ended_at=since, attempts=0, next_attempt_at=due)


def _given_up(alert: Alert, services: Sequence[str], now: datetime) -> bool:
    over = alert.ended_at is not None and now - alert.ended_at > TRIED_FOR
    return over or set(services) <= set(alert.end_sent_to)


def _not_too_far(alert: Alert, now: datetime) -> Alert:
    """A time further ahead than any wait is due: the clock was set back."""
    limit = now + max(*WAITS, *(rule.lasts for rule in RULES.values()))
    if alert.next_attempt_at is not None and alert.next_attempt_at > limit:
        return replace(alert, next_attempt_at=now)
    return alert


def due(alerts: Iterable[Alert], policy: Policy, now: datetime) -> list[Alert]:
    """List those whose message is to be sent now."""
    waiting = (one for one in alerts if one.next_attempt_at is not None and one.next_attempt_at <= now)
    return [alert for alert in waiting if policy.held(alert, now) is None]


def missing(alert: Alert, services: Sequence[str]) -> list[str]:
    """List the services that do not have the message yet that is due: of the end once it is over, else of the begin."""
    had = alert.sent_to if alert.ended_at is None else alert.end_sent_to
    return [service for service in services if service not in had]


def claimed(alert: Alert, until: datetime) -> Alert:
    """The alert while its message is being sent: if this process dies, another one sends it after `until`."""
    return replace(alert, attempts=alert.attempts + 1, next_attempt_at=until)


def recorded(alert: Alert, sent: Alert, taken: Collection[str], services: Sequence[str], now: datetime) -> Alert:
    """The alert after a message about it as it was then (`sent`) went out and these services (`taken`) took it.

    Where it ended meanwhile in the hands of another process, the message of its end is due as it was.
    """
    ended = sent.ended_at is not None
    had = tuple(dict.fromkeys([*(alert.end_sent_to if ended else alert.sent_to), *taken]))
    first = now if taken else None
    if ended:
        after = replace(alert, end_sent_to=had, end_sent_at=alert.end_sent_at or first)
    else:
        after = replace(alert, sent_to=had, sent_at=alert.sent_at or first)
    if ended != (alert.ended_at is not None):
        return after
    left = [service for service in services if service not in had]
    error = f"not taken by {', '.join(left)}" if left else None
    again = now + WAITS[min(max(alert.attempts, 1), len(WAITS)) - 1] if left else None
    return replace(after, next_attempt_at=again, last_error=error)
