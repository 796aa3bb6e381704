"""Records searches, exports and sign-ins in the audit log; repeats within a minute are left out.

What somebody typed is there as a keyed hash: the same text gives the same hash, and only who has the webhook secret
can try whether it is that of a guess. All of it is open to viewers too, so nothing here asks whether somebody may.
"""

import hashlib
import hmac
import logging
from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, select

from tracking.access import Person
from tracking.errors import StoreError
from tracking.orders.model import OrderType, State
from tracking.orders.wording import SOURCES
from tracking.provider.masking import mask_recipient
from tracking.reports.order_list.filters import PAGE_SIZE, REASONS, SORTS, VIEWS, Filters
from tracking.reports.team.audit_wording import HASH
from tracking.storage.database import Database
from tracking.storage.tables import ORDERS
from tracking.storage.team.audit_log import NOT_ADMITTED, AuditKind, lock, record_act
from tracking.storage.team.tables import AUDIT_LOG

log = logging.getLogger(__name__)

REPEATED_WITHIN = timedelta(minutes=1)
RECENT = 20  # of one person and kind: so many of the newest entries are looked at for the same one
REFUSALS_AN_HOUR = 100
ORDERS_NAMED = 50
_HASH_DIGITS = 32
_PURPOSE = b"texts in the audit log of people"
_WORDS = frozenset(map(str, (*VIEWS, *SORTS, *REASONS, *State, *OrderType, *SOURCES, "seed")))


def text_hash(text: str, secret: str) -> str:
    """The keyed hash of what somebody typed, whatever its case and spaces: HMAC-SHA-256, 128 bits, in hex."""
    key = hmac.digest(secret.encode(), _PURPOSE, "sha256")
    flat = " ".join(text.split()).casefold()
    return HASH + hmac.new(key, flat.encode(), hashlib.sha256).hexdigest()[:_HASH_DIGITS]


def filter_detail(filters: Filters, secret: str) -> dict[str, Any]:
    """The filter as in an address: known words, numbers and times as they are, any other text as its hash.

    Without the page, and without the orders that were selected.
    """
    query = replace(filters, only=(), page=1, page_size=PAGE_SIZE).to_query()
    return {
        each.metadata["name"]: _without_words(getattr(filters, each.name), query[each.metadata["name"]], secret)
        for each in fields(Filters)
        if each.metadata["name"] in query
    }


def _without_words(value: Any, written: Any, secret: str) -> Any:
    match value:
        case tuple():
            return [_hashed(word, secret) for word in value]
        case str():
            return _hashed(value, secret)
        case _:
            return written


def _hashed(text: str, secret: str) -> str:
    return str(text) if text in _WORDS else text_hash(text, secret)


def record_export(
    database: Database,
    what: str,
    *,
    by: Person,
    now: datetime,
    secret: str,
    filters: Filters | None = None,
    **detail: Any,
) -> None:
    """Record that the person exported `what`, with its filter, and details such as form and rows.

    `order_id` and `job_id` among the details are those of the entry. Raises StoreError: then it is not to be given.
    """
    ids = {name: detail.pop(name, None) for name in ("order_id", "job_id")}

    def job(connection: Connection) -> None:
        more = {"filter": filter_detail(filters, secret) or None, **_selected(connection, filters)} if filters else {}
        _record(connection, by, AuditKind.EXPORTED, now, {"what": what} | detail | more, **ids)

    database.write(job)


def _selected(connection: Connection, filters: Filters) -> dict[str, Any]:
    """How many orders were selected by hand, and the row ids of the first of them."""
    if not filters.only:
        return {}
    ids = select(ORDERS.c.id).where(ORDERS.c.po_number.in_(filters.only[:ORDERS_NAMED])).order_by(ORDERS.c.id)
    return {"selected": len(filters.only), "order_ids": list(connection.execute(ids).scalars())}


def record_search(
    database: Database,
    text: str,
    hits: int,
    *,
    by: Person,
    now: datetime,
    secret: str,
    more: bool = False,
    order_id: int | None = None,
) -> None:
    """Record that the person searched for a text, and how many matched; `more`: at least so many.

    Whoever searches gets an answer also where it cannot be recorded, which the process's log says.
    """
    detail = {"text": text_hash(text, secret), "hits": hits, "at_least": True if more else None}
    _try(
        database,
        lambda connection: _record(connection, by, AuditKind.SEARCHED, now, detail, same=("text",), order_id=order_id),
    )


def record_sign_in(database: Database, issued_at: float, *, by: Person, now: datetime) -> bool:
    """Record a sign-in once, by when it was issued in seconds of the epoch; False where that has to be tried again."""
    detail = {"issued_at": datetime.fromtimestamp(issued_at, UTC).isoformat(), "access": by.access.value}
    age = now - datetime.fromtimestamp(issued_at, UTC) + REPEATED_WITHIN
    return _try(
        database,
        lambda connection: _record(
            connection, by, AuditKind.SIGNED_IN, now, detail, same=("issued_at",), within=max(age, REPEATED_WITHIN)
        ),
    )


def record_refusal(database: Database, claims: Mapping[str, Any], why: str, *, now: datetime) -> bool:
    """Record that somebody has signed in and was not admitted, their address masked; at most so many an hour."""
    address = str(claims.get("email") or "").strip()
    masked = mask_recipient(address) if address else ""
    why = why.replace(address, masked).replace(address.lower(), masked) if address else why
    detail = {"address": masked or None, "why": why[:200]}

    def job(connection: Connection) -> None:
        lately = select(AUDIT_LOG.c.seq).where(
            AUDIT_LOG.c.person == NOT_ADMITTED,
            AUDIT_LOG.c.kind == AuditKind.SIGN_IN_REFUSED.value,
            AUDIT_LOG.c.at > now - timedelta(hours=1),
        )
        newest = lately.order_by(AUDIT_LOG.c.seq.desc()).limit(REFUSALS_AN_HOUR).subquery()
        if connection.execute(select(func.count()).select_from(newest)).scalar_one() < REFUSALS_AN_HOUR:
            _record(connection, Person(NOT_ADMITTED), AuditKind.SIGN_IN_REFUSED, now, detail, same=("address",))

    return _try(database, job)


def _try(database: Database, job: Any) -> bool:
    try:
        database.write(job)
    except StoreError as exc:
        log.warning("not recorded in the audit log: %s", exc)
        return False
    return True


def _record(
    connection: Connection,
    person: Person,
    kind: AuditKind,
    now: datetime,
    detail: Mapping[str, Any],
    same: tuple[str, ...] = (),
    within: timedelta = REPEATED_WITHIN,
    **ids: int | None,
) -> None:
    """Append the entry, unless the person lately had one with the same detail, or the same fields `same` of it."""
    lock(connection, now)  # or two processes would each see that the other has not recorded it yet
    compared = {name: value for name, value in detail.items() if value is not None and (name in same or not same)}
    newest = select(AUDIT_LOG.c.order_id, AUDIT_LOG.c.job_id, AUDIT_LOG.c.detail).where(
        AUDIT_LOG.c.person == person.name, AUDIT_LOG.c.kind == kind.value, AUDIT_LOG.c.at > now - within
    )
    for row in connection.execute(newest.order_by(AUDIT_LOG.c.seq.desc()).limit(RECENT)):
        before = {name: value for name, value in row.detail.items() if name in same or not same}
        if (row.order_id, row.job_id, before) == (ids.get("order_id"), ids.get("job_id"), compared):
            return
    record_act(connection, person, kind, now, order_id=ids.get("order_id"), job_id=ids.get("job_id"), detail=detail)
