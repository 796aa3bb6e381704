"""Subscriptions: add, pause, resume, remove, rotate the secret. Acts of operators.

Each act is an entry of the audit log, with the subscription's name and nothing of its secret or its URL.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection
from sqlalchemy.engine import RowMapping

from tracking.access import Person
from tracking.delivery.signing import Secret, SecretCipher, new_secret
from tracking.delivery.targets import Target, TargetRefused, read_url
from tracking.errors import InvalidSubscription, NotAllowed, Problem, UnknownSubscription
from tracking.orders.model import OrderType
from tracking.orders.wording import SOURCES, source_of
from tracking.settings.addresses import IpNetwork
from tracking.storage.database import Database
from tracking.storage.integration import subscriptions
from tracking.storage.integration.event_types import EventType
from tracking.storage.integration.subscriptions import SubscriptionState
from tracking.storage.team import audit_log
from tracking.storage.team.audit_log import AuditKind

MOST_SUBSCRIPTIONS = 50
LONGEST_NAME = 60
OVERLAP = timedelta(hours=24)
MOST_SECRETS = 5
SETTLE_SECONDS, SETTLE_PAUSE = 5.0, 0.02
EVENT_TYPES = tuple(each.value for each in EventType)
ORDER_TYPES = tuple(each.value for each in OrderType)
REMOVED_MARK = "\n"
# Behind the host where the rest is encrypted. A process of an earlier version on the same database sends to no address
# with a "#"; to the host alone it would, and whatever answers there could count as the receiver.
SEALED = "#encrypted"
"""Between the name that a removed subscription had, which another may get, and its number."""


@dataclass(frozen=True, slots=True)
class NewHook:
    """A subscription as it is asked for: of which events and orders it is notified, and where."""

    name: str
    url: str
    event_types: tuple[str, ...] = ()
    po_prefix: str | None = None
    order_type: str | None = None
    source: str | None = None


def add(
    database: Database,
    hook: NewHook,
    *,
    cipher: SecretCipher,
    allowed: Iterable[IpNetwork],
    by: Person,
    now: datetime,
    secret: Secret | None = None,
) -> Secret:
    """Add a subscription; returns its secret, to be shown once. It is notified of all that happens once this returns.

    Unless a transaction of another process goes on for longer than SETTLE_SECONDS: see `settle_beginnings`.

    Raises:
        NotPermitted: the person may not.
        InvalidSubscription: something of it cannot be used; all that is wrong is named.
        NotAllowed: there is one of this name, or there are too many.
        ClaimsUnavailable: there is no key to encrypt the secret with.
    """
    by.must_operate()
    secret = secret or new_secret()
    row = _row(hook, cipher, allowed, secret)
    began = time.monotonic()
    database.write(partial(_add, row=row, by=by, now=now))
    settle_beginnings(database, now, began)
    return secret


def settle_beginnings(database: Database, now: datetime, began: float | None = None) -> bool:
    """Store of new subscriptions from when on they are notified of all; returns whether that is stored of each.

    On PostgreSQL a transaction of another process may have read the subscriptions before one was committed, and be
    committed after it: whoever was under way is waited for. It was `now` when `time.monotonic` was `began`.
    """
    began = time.monotonic() if began is None else began
    with database.read() as connection:
        ids = subscriptions.without_beginning(connection)
        under_way = subscriptions.writers(connection) if ids else frozenset[str]()
    until = time.monotonic() + SETTLE_SECONDS
    while under_way:
        if time.monotonic() > until:
            return False
        time.sleep(SETTLE_PAUSE)
        with database.read() as connection:
            under_way &= subscriptions.writers(connection)
    at = now + timedelta(seconds=time.monotonic() - began)
    if ids:
        database.write(partial(subscriptions.store_beginning, subscription_ids=ids, at=at))
    return True


def problems_of(hook: NewHook, allowed: Iterable[IpNetwork]) -> list[Problem]:
    """List all that is wrong with a subscription that is asked for."""
    return _checked(hook, allowed)[1]


def _row(hook: NewHook, cipher: SecretCipher, allowed: Iterable[IpNetwork], secret: Secret) -> dict[str, Any]:
    target, problems = _checked(hook, allowed)
    if problems or target is None:
        raise InvalidSubscription(problems)
    name = readable(hook.name)
    return {
        "name": name,
        **_address(target.url, name, cipher),
        "event_types": [each for each in EVENT_TYPES if each in hook.event_types],
        **{each: (getattr(hook, each) or "").strip() or None for each in ("po_prefix", "order_type")},
        "source": source_of(hook.source or "") or None,
        "secrets": [{"sealed": cipher.encrypt(secret, name), "until": None}],
    }


def _address(url: str, name: str, cipher: SecretCipher) -> dict[str, str]:
    """The columns of an address: what may be shown of it, and all of it encrypted."""
    shown = f"{{0.scheme}}://{{0.netloc}}/{SEALED}".format(urlsplit(url))
    return {"url": shown, "sealed_url": cipher.encrypt_address(url, name)}


def seal_addresses(database: Database, cipher: SecretCipher) -> int:
    """Encrypt the addresses that an earlier version stored as they were; returns how many.

    Raises ClaimsUnavailable without a key.
    """

    def job(connection: Connection) -> int:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA secure_delete = ON")
        named = [subscriptions.named(connection, name) for name in _with_open_address(connection)]
        rows = [row for row in named if row is not None and row["sealed_url"] is None]
        for row in rows:
            subscriptions.change(connection, row["id"], _address(row["url"], row["name"], cipher))
        return len(rows)

    with database.read() as connection:
        names = _with_open_address(connection)
    return database.write(job) if names else 0


def _with_open_address(connection: Connection) -> list[str]:
    return [row["name"] for row in subscriptions.listed(connection) if row["sealed_url"] is None]


def _checked(hook: NewHook, allowed: Iterable[IpNetwork]) -> tuple[Target | None, list[Problem]]:
    problems, target = [], None
    name = readable(hook.name)
    if not any(map(str.isalnum, name)) or len(name) > LONGEST_NAME:
        problems.append(Problem("Name", f"must be 1 to {LONGEST_NAME} characters"))
    elif not hook.name.strip().isprintable():
        problems.append(Problem("Name", "must be one line, without tabs, special spaces and what cannot be seen"))
    try:
        target = read_url(hook.url, allowed)
    except TargetRefused as exc:
        problems.append(Problem("URL", str(exc)))
    if strange := sorted({*hook.event_types} - {*EVENT_TYPES}):
        problems.append(Problem("Events", f"{strange[0][:40]!r} is none; there are {', '.join(EVENT_TYPES)}"))
    if hook.order_type and hook.order_type not in ORDER_TYPES:
        problems.append(Problem("Order type", f"must be one of {', '.join(ORDER_TYPES)}"))
    if hook.source and source_of(hook.source) not in SOURCES:
        problems.append(Problem("Source", f"must be one of {', '.join(SOURCES)}"))
    if hook.po_prefix and (len(hook.po_prefix) > 100 or not hook.po_prefix.isprintable()):
        problems.append(Problem("PO prefix", "must be at most 100 characters that can be seen"))
    return target, problems


def readable(name: str) -> str:
    """The name as it is stored: in one line, with single spaces."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in name).split())


def _add(connection: Connection, row: Mapping[str, Any], by: Person, now: datetime) -> None:
    taken = "there is a subscription of this name already"
    if subscriptions.named(connection, row["name"]) is not None:  # locked first, as whoever changes it does
        raise NotAllowed(taken)
    audit_log.lock(connection, now)  # one after the other, or two at once would be one too many
    if subscriptions.named(connection, row["name"]) is not None:
        raise NotAllowed(taken)
    if subscriptions.count(connection) >= MOST_SUBSCRIPTIONS:
        raise NotAllowed(f"there are {MOST_SUBSCRIPTIONS} subscriptions already; remove one first")
    who = {"state_by": by.name, "created_by": by.name}
    times = {"state_at": now, "created_at": now}
    subscriptions.add(connection, {**row, **who, **times, "state": SubscriptionState.ACTIVE.value, "failures": 0})
    audit_log.record_act(connection, by, AuditKind.HOOK_ADDED, now, detail={"webhook": row["name"]})


def pause(database: Database, name: str, *, by: Person, now: datetime) -> None:
    """Send nothing until it is resumed; what happens meanwhile waits. Raises NotPermitted, UnknownSubscription."""
    by.must_operate()
    _set_state(database, name, SubscriptionState.PAUSED, AuditKind.HOOK_PAUSED, by, now)


def resume(database: Database, name: str, *, by: Person, now: datetime) -> None:
    """Send again, what waited first; also after it was switched off. Raises NotPermitted, UnknownSubscription."""
    by.must_operate()
    _set_state(database, name, SubscriptionState.ACTIVE, AuditKind.HOOK_RESUMED, by, now)


def _set_state(
    database: Database, name: str, state: SubscriptionState, kind: AuditKind, by: Person, now: datetime
) -> None:
    def act(connection: Connection, row: RowMapping) -> bool:
        changes = bool(row["state"] != state)
        if changes:
            subscriptions.set_state(connection, row["id"], state, by=by.name, why=None, now=now)
        return changes

    _change(database, name, act, kind, by, now)


def remove(database: Database, name: str, *, by: Person, now: datetime) -> None:
    """Remove the subscription and its secrets; what waits is dropped. Raises NotPermitted, UnknownSubscription."""
    by.must_operate()

    def act(connection: Connection, row: RowMapping) -> bool:
        subscriptions.set_state(connection, row["id"], SubscriptionState.REMOVED, by=by.name, why=None, now=now)
        # Its name is free for another one; its address, which may hold a secret, is not needed any more.
        gone: dict[str, Any] = {
            "name": f"{name}{REMOVED_MARK}{row['id']}",
            "url": "",
            "sealed_url": None,
            "secrets": [],
        }
        subscriptions.change(connection, row["id"], gone)
        return True

    _change(database, name, act, AuditKind.HOOK_REMOVED, by, now)


def rotate(
    database: Database,
    name: str,
    *,
    cipher: SecretCipher,
    by: Person,
    now: datetime,
    overlap: timedelta = OVERLAP,
    secret: Secret | None = None,
) -> Secret:
    """Give it another secret; the one before signs too for the time of the overlap. Returns the new one, shown once.

    Raises:
        NotPermitted: the person may not.
        UnknownSubscription: there is none of this name.
        ClaimsUnavailable: there is no key to encrypt the secret with.
    """
    by.must_operate()
    fresh = secret or new_secret()
    sealed = cipher.encrypt(fresh, name)

    def act(connection: Connection, row: RowMapping) -> bool:
        until = (now + overlap).isoformat()
        before = [each | {"until": each["until"] or until} for each in row["secrets"]]
        before = [each for each in before if datetime.fromisoformat(each["until"]) > now]
        secrets = [{"sealed": sealed, "until": None}, *before][:MOST_SECRETS]
        subscriptions.change(connection, row["id"], {"secrets": secrets})
        return True

    _change(database, name, act, AuditKind.HOOK_SECRET_CHANGED, by, now)
    return fresh


def _change(
    database: Database,
    name: str,
    act: Callable[[Connection, RowMapping], bool],
    kind: AuditKind,
    by: Person,
    now: datetime,
) -> None:
    """Do it to the subscription of this name and record that, unless nothing changed."""

    def job(connection: Connection) -> None:
        row = subscriptions.named(connection, name)
        if row is None:
            raise UnknownSubscription(f"there is no subscription named {name!r}")
        if act(connection, row):
            audit_log.record_act(connection, by, kind, now, detail={"webhook": name})

    database.write(job)
