"""Troubles: what is wrong now that alerts tell of, by the same reads as the pages' banners."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa
from sqlalchemy import Connection, select

from tracking.alerting.rules import MOST_SINGLE
from tracking.forecasting.incidents import LateOrders, stored_late_orders
from tracking.orders import wording
from tracking.orders.model import State
from tracking.orders.vocabulary import reason_label
from tracking.reports.banners import Banner, health_banners
from tracking.reports.health import Health, health
from tracking.reports.order_list.narrowing import FLAGGED
from tracking.settings.alerts import AlertRule
from tracking.storage.database import Database
from tracking.storage.integration import subscriptions
from tracking.storage.integration.late_orders import is_judged
from tracking.storage.tables import OPEN, ORDERS
from tracking.storage.team import snoozing

SEARCHED = 1_000  # orders, the newest of those that come into question
MOST_SUBSCRIPTIONS = 20
_COLUMNS = (ORDERS.c.po_number, ORDERS.c.late_at, ORDERS.c.attention_reason)
_BRACKETS = re.compile(r" \([^)]*\)")
Keys = Collection[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Trouble:
    """One trouble that there is now.

    Attributes:
        rule: its kind.
        subject: what it is of: a PO number, a delivery type, a name; "" for all.
        title: it in one line.
        text: what it means, and what to do.
        page: the address of the page about it, below that of the console.
        since: when it began, where that is known.
        covered: whether another trouble tells of it: then it has no message of its own, as long as that lasts.
    """

    rule: AlertRule
    subject: str
    title: str
    text: str = ""
    page: str = ""
    since: datetime | None = None
    covered: bool = False

    def detail(self) -> Mapping[str, Any]:
        """What is stored of it."""
        since = self.since and self.since.isoformat()
        named: dict[str, Any] = {"title": self.title, "text": self.text, "page": self.page}
        return named | {"since": since, "covered": self.covered}


def find_troubles(database: Database, now: datetime, lasting: Keys = ()) -> list[Trouble]:
    """Find what is wrong now.

    `lasting` are the rules and subjects of which there was a trouble before: what of them is there still is found
    however many others there are.
    """
    state = health(database, now)
    with database.read() as connection:
        late = stored_late_orders(connection)
        hooks = list(_switched_off(connection))
        orders = [*_late(connection, late, state, now, lasting), *_flagged(connection, now, lasting)]
        orders += _unconfirmed(connection, state, now, lasting)
    of_banners = (trouble for banner in health_banners(state, late, now) for trouble in _of_banner(banner))
    by_key: dict[tuple[str, str], Trouble] = {}
    for trouble in (*of_banners, *orders, *hooks):
        by_key.setdefault((trouble.rule, trouble.subject), trouble)
    return list(by_key.values())


def _of_banner(banner: Banner) -> Iterator[Trouble]:
    if banner.rule is None:
        return
    page = f"orders?{urlencode(banner.orders)}" if banner.orders else ""
    for subject in banner.subjects:
        yield Trouble(banner.rule, subject, banner.text, banner.details or "", page, banner.since)


def _switched_off(connection: Connection) -> Iterator[Trouble]:
    for row in subscriptions.switched_off(connection, MOST_SUBSCRIPTIONS):
        name = row["name"]
        title = f"Outgoing webhooks to “{plain_name(name)}” are switched off: {_short(row['state_why'])}"
        text = "Nothing is delivered to it until somebody switches it on again; what waits for it stays."
        yield Trouble(AlertRule.DELIVERIES, name, title, text, "hooks", row["state_at"])


def _short(why: str | None) -> str:
    """The reason without what stands in brackets, ids and status codes: those are on the page."""
    return _BRACKETS.sub("", why or "") or "they failed"


# Orders, one by one while they are few


def _late(connection: Connection, late: LateOrders, state: Health, now: datetime, lasting: Keys) -> Iterator[Trouble]:
    """Orders that are late without a common cause; banners tell of ten or more of them, and of incidents."""
    is_late = sa.and_(OPEN, ORDERS.c.late_at < now)
    apart = sa.and_(
        is_late, is_judged(connection, now), snoozing.awake(now), *(sa.not_(one.matches(now)) for one in late.incidents)
    )
    new = _newest(connection, is_late, apart, ORDERS.c.late_at) if 0 < late.others < MOST_SINGLE else []
    names = {row.po_number for row in new}
    for row in [*new, *_still(connection, AlertRule.LATE, is_late, lasting)]:
        # As with the banner of an incident: while no call is answered it may be complete.
        unanswered = state.unanswered_since is not None and row.late_at >= state.unanswered_since
        covered = row.po_number not in names or unanswered
        title = f"{plain_name(row.po_number)} is late"
        text = f"It should have completed by {wording.clock(row.late_at)}."
        yield _of_order(AlertRule.LATE, row.po_number, title, text, since=row.late_at, covered=covered)


def _flagged(connection: Connection, now: datetime, lasting: Keys) -> Iterator[Trouble]:
    new, many = _few_or_many(connection, FLAGGED, now)
    if many:
        yield Trouble(AlertRule.DECISION, "", f"{many} orders need a decision", "", "orders?view=attention")
    names = {row.po_number for row in new}
    for row in [*new, *_still(connection, AlertRule.DECISION, FLAGGED, lasting)]:
        title = f"{plain_name(row.po_number)} needs a decision: {reason_label(row.attention_reason)}"
        yield _of_order(AlertRule.DECISION, row.po_number, title, covered=row.po_number not in names)


def _unconfirmed(connection: Connection, state: Health, now: datetime, lasting: Keys) -> Iterator[Trouble]:
    unknown = ORDERS.c.state == State.UNKNOWN.value
    new, many = _few_or_many(connection, unknown, now)
    unanswered = state.unanswered_since is not None  # they are sent again as soon as calls are answered
    text = "The provider may or may not have it. It is sent again under the same PO number, which cannot order twice."
    if many:
        title = f"{many} orders are unconfirmed"
        yield Trouble(AlertRule.UNCONFIRMED, "", title, text, "orders?view=unknown", covered=unanswered)
    names = {row.po_number for row in new}
    for row in [*new, *_still(connection, AlertRule.UNCONFIRMED, unknown, lasting)]:
        covered = unanswered or row.po_number not in names
        title = f"{plain_name(row.po_number)} is unconfirmed"
        yield _of_order(AlertRule.UNCONFIRMED, row.po_number, title, text, covered=covered)


def _of_order(rule: AlertRule, po_number: str, title: str, text: str = "", **more: Any) -> Trouble:
    return Trouble(rule, po_number, title, text, f"timeline?{urlencode({'order': po_number})}", **more)


def _few_or_many(connection: Connection, indexed: Any, now: datetime) -> tuple[list[Any], str]:
    """Read the orders that are not snoozed, where they are few; else none of them, and how many they are."""
    awake = sa.and_(indexed, snoozing.awake(now))
    new = _newest(connection, indexed, awake, ORDERS.c.created_at)
    if len(new) < MOST_SINGLE:
        return new, ""
    counted = select(sa.func.count()).where(ORDERS.c.id.in_(_searched(indexed, ORDERS.c.created_at)), awake)
    number = int(connection.execute(counted).scalar_one())
    return [], f"{number:,}{'+' if number >= SEARCHED else ''}"


def _newest(connection: Connection, indexed: Any, matching: Any, by: Any) -> list[Any]:
    """Read the newest orders that match, of as many as are searched by the index: MOST_SINGLE at the most."""
    query = select(*_COLUMNS).where(ORDERS.c.id.in_(_searched(indexed, by)), matching)
    return list(connection.execute(query.order_by(by.desc()).limit(MOST_SINGLE)))


def _searched(indexed: Any, by: Any) -> Any:
    newest = select(ORDERS.c.id).where(indexed).order_by(by.desc()).limit(SEARCHED).subquery()
    return select(newest.c.id)


def _still(connection: Connection, rule: AlertRule, matching: Any, lasting: Keys) -> Iterable[Any]:
    """Read the orders that had a trouble of this rule before and still match, snoozed or not."""
    names = [subject for name, subject in lasting if name == rule and subject]
    return connection.execute(select(*_COLUMNS).where(ORDERS.c.po_number.in_(names), matching)) if names else ()


def plain_name(name: str) -> str:
    """A name from outside, so that no service takes a part of it for markup, a mention or a link."""
    letters = (letter if letter.isalnum() or letter in " ._-:/+#" else "·" for letter in name[:64])
    return "".join(letters).replace("://", "·//")
