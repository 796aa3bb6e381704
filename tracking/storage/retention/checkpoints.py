"""Checkpoints: what stays of removed events, so that the rest of the log is still verified. Steps of a job.

A checkpoint's digest is the SHA-256 of a JSON array in the form of `orders.event_chain`: PONumber, the hash of the last
event that left, how many left, the ids of the first and the last, what they added to the counters, and the order's
facts by then. The hash of the last is that which the next event carries or, where none came, the order's head.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, bindparam, select, update
from sqlalchemy.engine import RowMapping

from tracking.orders.event_chain import canonical
from tracking.orders.model import ORDER_FIELDS, Order
from tracking.storage.retention.tables import ARCHIVES, CHECKPOINTS

_ORDER: Any = bindparam("of_order")
_KEEP_FACTS = update(CHECKPOINTS).where(CHECKPOINTS.c.order_id == _ORDER, CHECKPOINTS.c.facts.is_(None))
_BETWEEN: Any = bindparam("first"), bindparam("last")
_CHECKPOINTS = select(CHECKPOINTS).where(CHECKPOINTS.c.order_id.between(*_BETWEEN))
_CHECKPOINT = (
    select(CHECKPOINTS, ARCHIVES.c.folder, ARCHIVES.c.file)
    .outerjoin(ARCHIVES, ARCHIVES.c.id == CHECKPOINTS.c.archive_id)
    .where(CHECKPOINTS.c.order_id == _ORDER)
)


def facts_of(values: Mapping[Any, Any] | Order) -> dict[str, Any]:
    """The facts of an order or of its row as they are hashed: those that are set, times in UTC as texts."""
    named = values if isinstance(values, Mapping) else {name: getattr(values, name) for name in ORDER_FIELDS}
    return {name: _text(named[name]) for name in ORDER_FIELDS if named[name] is not None}


def _text(value: Any) -> Any:
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value


def digest_of(checkpoint: Mapping[Any, Any], po_number: str, last_hash: str, facts: Mapping[str, Any]) -> str:
    """The checkpoint's digest, by its columns `seq`, `first_event`, `last_event` and `movements`."""
    numbers = [checkpoint[name] for name in ("seq", "first_event", "last_event", "movements")]
    return hashlib.sha256(canonical([po_number, last_hash, *numbers, facts]).encode()).hexdigest()


def fault_of(checkpoint: Mapping[Any, Any] | None, row: Mapping[Any, Any], last_hash: str) -> str | None:
    """Describe where the checkpoint does not fit its order's row; None where it does, or where nothing left."""
    if checkpoint is None:
        return "its log has no checkpoint to begin after" if row["events_removed"] else None
    if checkpoint["seq"] != row["events_removed"]:
        return f"its checkpoint stands after event {checkpoint['seq']}, its log begins after {row['events_removed']}"
    if digest_of(checkpoint, row["po_number"], last_hash, facts_by_then(checkpoint, row)) != checkpoint["digest"]:
        return "its checkpoint does not fit: the order's facts, its head or the checkpoint were changed"
    return None


def facts_by_then(checkpoint: Mapping[Any, Any], row: Mapping[Any, Any]) -> dict[str, Any]:
    """The order's facts at its checkpoint: the row's own, where nothing came since."""
    return dict(checkpoint["facts"]) if checkpoint["facts"] is not None else facts_of(row)


def keep_facts(connection: Connection, order_id: int, order: Order) -> None:
    """Store the facts with the order's checkpoint, as its first later event is about to change them."""
    connection.execute(_KEEP_FACTS.values(facts=facts_of(order)), {"of_order": order_id})


def checkpoints_between(connection: Connection, first: int, last: int) -> dict[int, RowMapping]:
    """Read the checkpoints of the orders with ids in this range, by order."""
    rows = connection.execute(_CHECKPOINTS, {"first": first, "last": last}).mappings()
    return {row["order_id"]: row for row in rows}


def movements_of(counts: Mapping[tuple[str, datetime, str], Sequence[int]]) -> list[list[Any]]:
    """What the events add to the counters, in the stored form: [name, hour, state, orders, units, value]."""
    return [
        [name, _text(hour), state, *numbers] for (name, hour, state), numbers in sorted(counts.items()) if any(numbers)
    ]


def checkpoint_of(connection: Connection, order_id: int) -> RowMapping | None:
    """Read the order's checkpoint, with the `folder` and `file` of its archive; None where nothing of it left."""
    return connection.execute(_CHECKPOINT, {"of_order": order_id}).mappings().one_or_none()


def archive_files(connection: Connection) -> list[str]:
    """List the files that logs were archived to, the oldest first."""
    rows = connection.execute(select(ARCHIVES.c.folder, ARCHIVES.c.file).where(ARCHIVES.c.state != "writing"))
    return [f"{row.folder}/{row.file}" for row in rows]
