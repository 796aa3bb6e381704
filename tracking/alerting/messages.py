"""Messages of alerts: the text about one trouble, or about several in one message. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tracking.alerting.rules import MOST_SINGLE, RULES
from tracking.alerting.troubles import plain_name
from tracking.orders import wording
from tracking.settings.alerts import AlertRule, QuietHours
from tracking.storage.integration.alerts import Alert

LISTED = 5
RECOVERED = "Recovered: "
IN_UTC = "Times are in UTC."
_NO_LONGER = {
    AlertRule.LATE: "no longer late",
    AlertRule.DECISION: "no longer waiting for a decision",
    AlertRule.UNCONFIRMED: "no longer unconfirmed",
}
_ARE = {AlertRule.LATE: "late", AlertRule.DECISION: "waiting for a decision", AlertRule.UNCONFIRMED: "unconfirmed"}


class Gravity(StrEnum):
    """How a service shows a message."""

    FAILURE = "failure"
    WARNING = "warning"
    SUCCESS = "success"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent, as plain text."""

    title: str
    body: str
    gravity: Gravity


@dataclass(frozen=True, slots=True)
class Origin:
    """Where messages come from: `label` before each title, as in "[TEST] ", and the address of the pages, if known."""

    label: str = ""
    console_url: str | None = None

    def link(self, page: str) -> str:
        """The address of a page; empty where nobody knows where the console is."""
        return f"{self.console_url}/{page}".rstrip("/") if self.console_url else ""


def grouped(alerts: Iterable[Alert], quiet: QuietHours | None) -> list[list[Alert]]:
    """Group the alerts that share a message: begins, or ends, of one rule; and all that waited for the quiet hours."""
    groups: dict[tuple[str, bool], list[Alert]] = defaultdict(list)
    for alert in alerts:
        at = alert.next_attempt_at
        waited = quiet is not None and at is not None and not RULES[alert.rule].urgent and quiet.until(at) is not None
        groups["" if waited else alert.rule, not waited and alert.ended_at is not None].append(alert)
    return list(groups.values())


def message(alerts: Sequence[Alert], service: str, origin: Origin) -> Message:
    """Write the message about these alerts for one service."""
    rules = {(alert.rule, alert.ended_at is not None) for alert in alerts}
    if len(rules) == 1:
        title, lines, page = _of_rule(alerts, service)
        parts = [*lines, origin.link(page)]
    else:
        title, parts = _summary(alerts, service, origin)
    body = "\n".join(filter(None, [*parts, IN_UTC]))
    return Message(f"{origin.label}{title}", body, _gravity(alerts))


def test_message(rule: AlertRule | None, origin: Origin) -> Message:
    """Write the message that tries whether a service takes any."""
    about = f"Alerts of the rule “{rule}” ({RULES[rule].title.lower()}) look like this" if rule else "Alerts come here"
    body = "\n".join(filter(None, [f"{about}. Nothing is wrong: somebody tried it.", origin.link("")]))
    return Message(f"{origin.label}Test: {RULES[rule].title if rule else 'an alert'}", body, Gravity.INFO)


def _gravity(alerts: Sequence[Alert]) -> Gravity:
    lasting = [alert for alert in alerts if alert.ended_at is None]
    if not lasting:
        return Gravity.SUCCESS
    grave = {AlertRule.STORE, AlertRule.REFUSED, AlertRule.WORKERS, AlertRule.UNREACHABLE}
    return Gravity.FAILURE if any(alert.rule in grave for alert in lasting) else Gravity.WARNING


def _of_rule(alerts: Sequence[Alert], service: str) -> tuple[str, list[str], str]:
    """Title, lines and page of a message about begins, or ends, of one rule."""
    ended = alerts[0].ended_at is not None
    distinct = list({alert.detail["title"]: alert for alert in alerts}.values())
    if len(distinct) == 1:
        alert = distinct[0]
        title = _end_title(alert, service) if ended else alert.detail["title"]
        return title, [] if ended else [alert.detail["text"]], alert.detail["page"]
    rule = RULES[alerts[0].rule]
    names = [plain_name(alert.subject) for alert in alerts[:LISTED]]
    first = f"{', '.join(names)}{' and others' if len(alerts) > LISTED else ''}"
    page = _LISTS.get(rule.name, "") if rule.of_orders else ""
    if ended:
        words = _NO_LONGER.get(rule.name, "over")
        return (
            f"Recovered: {_what(alerts)} {words}: {first}",
            _listed([_end_title(one, service).removeprefix(RECOVERED) for one in alerts]),
            page,
        )
    lines = _listed([one.detail["title"] for one in alerts])
    words = _ARE.get(rule.name, "there")
    return f"{_what(alerts)} {words}: {first}", lines, page


_LISTS = {AlertRule.LATE: "orders?view=late&each=true", AlertRule.DECISION: "orders?view=attention",
          AlertRule.UNCONFIRMED: "orders?view=unknown"}  # fmt: skip


def _what(alerts: Sequence[Alert]) -> str:
    rule = RULES[alerts[0].rule]
    return f"{len(alerts)} orders are" if rule.of_orders else f"{rule.title}, {len(alerts)} times,"


def _listed(lines: Sequence[str]) -> list[str]:
    rest = len(lines) - LISTED
    return [*(f"- {line}" for line in lines[:LISTED]), *([f"- and {rest} more"] if rest > 0 else [])]


def _end_title(alert: Alert, service: str) -> str:
    """What is over; who did not hear of its begin is told from when to when it lasted."""
    rule, ended = RULES[alert.rule], alert.ended_at or alert.updated_at
    lasted = wording.duration(ended - alert.began_at)
    single = rule.of_orders and alert.subject
    what = f"{plain_name(alert.subject)} is {_NO_LONGER[rule.name]}" if single else _named(alert)
    if service in alert.sent_to:
        return f"{RECOVERED}{what}, after {lasted}"
    times = f"from {wording.clock(alert.began_at)} to {wording.clock(ended, alert.began_at)}"
    return f"Over: {what}, {times} ({lasted}); no message of it could be delivered before"


def _named(alert: Alert) -> str:
    rule = RULES[alert.rule]
    if rule.of_orders:
        return f"fewer than {MOST_SINGLE} orders are {_ARE[rule.name]} and not snoozed"
    if rule.name is AlertRule.EVERYONE_LATE:
        return f"{plain_name(alert.subject)} orders are not late together any more, or all of them are snoozed"
    if rule.name is AlertRule.DELIVERIES:
        return f"outgoing webhooks to “{plain_name(alert.subject)}” are switched on again, or were removed"
    return f"{rule.title} ({plain_name(alert.subject)})" if alert.subject else rule.title


def _summary(alerts: Sequence[Alert], service: str, origin: Origin) -> tuple[str, list[str]]:
    """A message about several rules, whose alerts waited for the quiet hours to end."""
    lasting, over = ([a for a in alerts if (a.ended_at is None) is still] for still in (True, False))
    counts = [
        f"{wording.count(len(lasting), 'alert')} that last" if lasting else "",
        f"{len(over)} over" if over else "",
    ]
    by_rule: dict[str, list[Alert]] = defaultdict(list)
    for alert in lasting:
        by_rule[alert.rule].append(alert)
    lines = []
    for of_rule in by_rule.values():
        title, more, page = _of_rule(of_rule, service)
        lines += [title, *(more if len(of_rule) == 1 else []), origin.link(page)]
    lines += _listed([_end_title(alert, service) for alert in over])
    return f"After the quiet hours: {', '.join(filter(None, counts))}", lines
