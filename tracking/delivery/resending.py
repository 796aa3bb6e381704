"""Resending: deliveries once more, all events of a span again, and test messages, when people ask for it.

What is sent again keeps its id, so that a receiver that has it knows it. A span is replayed from the log, also what
happened before the subscription was made.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial

from sqlalchemy import Connection, literal, select, tuple_
from sqlalchemy.engine import RowMapping

from tracking.access import Person
from tracking.delivery.payloads import render_test
from tracking.delivery.posting import Poster, Reply
from tracking.delivery.signing import SecretCipher, signed_headers, signing_secrets
from tracking.delivery.targets import TargetRefused, read_url
from tracking.errors import NotAllowed, UnknownSubscription
from tracking.orders.event_chain import chain_entry
from tracking.orders.model import Event, Witness
from tracking.settings.addresses import IpNetwork
from tracking.storage.database import Database
from tracking.storage.integration import deliveries, subscriptions
from tracking.storage.integration.event_types import types_of
from tracking.storage.integration.notifications import Subscriber, rows_of
from tracking.storage.tables import EVENTS, ORDERS
from tracking.storage.team import audit_log
from tracking.storage.team.audit_log import AuditKind

EVENTS_AT_ONCE = 500
_EVENTS = (
    select(EVENTS, ORDERS.c.po_number, ORDERS.c.type, ORDERS.c.source)
    .join(ORDERS, ORDERS.c.id == EVENTS.c.order_id)
    .order_by(EVENTS.c.learned_at, EVENTS.c.id)
    .limit(EVENTS_AT_ONCE)
)


def send_again(database: Database, delivery_ids: Sequence[int], *, by: Person, now: datetime) -> int:
    """Have these deliveries sent once more, under their ids; returns how many. Raises NotPermitted, NotAllowed."""
    by.must_operate()

    def job(connection: Connection) -> int:
        number = deliveries.make_wait(connection, list(delivery_ids), now, by.name)
        if not number:
            raise NotAllowed("none of these deliveries can be sent: they are gone, or their subscription was removed")
        detail = {"deliveries": number, "first": min(delivery_ids)}
        audit_log.record_act(connection, by, AuditKind.HOOK_SENT_AGAIN, now, detail=detail)
        return number

    return database.write(job)


def replay(
    database: Database, name: str, since: datetime, until: datetime, *, by: Person, now: datetime
) -> deliveries.ReplayResult:
    """Have all that was learned from `since` on and before `until` sent to one subscription; returns how many wait.

    In groups of events, each a transaction of its own. What became late is no event and is not sent; nor is what
    somebody skipped, as it would hold up its order again: `send_again` sends that.

    Raises:
        NotPermitted: the person may not.
        UnknownSubscription: there is none of this name.
        NotAllowed: the span is empty.
    """
    by.must_operate()
    if since >= until:
        raise NotAllowed("the span ends before it begins")
    subscriber = database.write(partial(_begin_replay, name=name, since=since, until=until, by=by, now=now))
    waiting = skipped = 0
    for rows in _pages(database, since, until):
        adding = [row for event in rows for row in _rows(event, subscriber, now)]
        result = database.write(partial(deliveries.add_missing, rows=adding, now=now, by=by.name))
        waiting, skipped = waiting + result.waiting, skipped + result.skipped
    return deliveries.ReplayResult(waiting, skipped)


def _begin_replay(
    connection: Connection, name: str, since: datetime, until: datetime, by: Person, now: datetime
) -> Subscriber:
    row = _named(connection, name)
    detail = {"webhook": name, "since": since.isoformat(), "until": until.isoformat()}
    audit_log.record_act(connection, by, AuditKind.HOOK_REPLAYED, now, detail=detail)
    filters = row["po_prefix"], row["order_type"], row["source"]
    return Subscriber(row["id"], tuple(row["event_types"]), *filters, row["created_at"])


def _named(connection: Connection, name: str) -> RowMapping:
    row = subscriptions.named(connection, name)
    if row is None:
        raise UnknownSubscription(f"there is no subscription named {name!r}")
    return row


def _pages(database: Database, since: datetime, until: datetime) -> Iterator[Sequence[RowMapping]]:
    place = since, 0
    while True:
        after = tuple_(EVENTS.c.learned_at, EVENTS.c.id) > tuple_(literal(place[0], EVENTS.c.learned_at.type), place[1])
        query = _EVENTS.where(EVENTS.c.learned_at >= place[0], EVENTS.c.learned_at < until, after)
        with database.read() as connection:
            rows = connection.execute(query).mappings().all()
        if not rows:
            return
        yield rows
        place = rows[-1]["learned_at"], rows[-1]["id"]


def _rows(row: RowMapping, subscriber: Subscriber, now: datetime) -> Iterator[dict[str, object]]:
    """The rows of one event of the log; the same ones, by their ids, that it added when it happened."""
    times = row["happened_at"], row["learned_at"]
    event = Event(row["kind"], Witness(row["witness"]), *times, row["changes"], row["detail"], row["line_changes"])
    if types := types_of(event):
        key = row["order_id"], row["po_number"], row["type"], row["source"]
        digest = chain_entry(row).event_hash(row["po_number"])
        for each in rows_of([subscriber], key, types, row["seq"], digest, row["learned_at"]):
            yield each | {"created_at": now, "next_attempt_at": now}


async def send_test(
    database: Database,
    name: str,
    *,
    poster: Poster,
    cipher: SecretCipher,
    allowed: Iterable[IpNetwork],
    by: Person,
    now: datetime,
) -> Reply:
    """Send one signed message of the type `test`, once and at once; returns what came of it.

    Raises:
        NotPermitted: the person may not.
        UnknownSubscription: there is none of this name.
        ClaimsUnavailable: its secret cannot be decrypted.
    """
    by.must_operate()

    def job(connection: Connection) -> RowMapping:
        row = _named(connection, name)
        audit_log.record_act(connection, by, AuditKind.HOOK_TESTED, now, detail={"webhook": name})
        return row

    row = await database.run(job)
    payload, message_id = render_test(name, now), f"msg_{secrets.token_hex(16)}_test"
    headers = signed_headers(message_id, payload, signing_secrets(row, cipher, now), now)
    try:
        target = read_url(cipher.address_of(row), allowed)
    except TargetRefused as exc:
        return Reply(error=f"not sent: the address {exc}")
    return await poster.post(target, payload, headers)
