"""Check archives against the store: each file's bytes, its orders' chains, and that the store goes on where they end.

What a file holds of an order is proven by its head: the store has it as the order's own or, where events came later, as
the hash that the next one carries. Its facts are those over which the order's checkpoint was made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, and_, bindparam, select

from tracking.errors import StoreUnusable
from tracking.storage.database import Database
from tracking.storage.retention.archive_file import ArchiveContent, digest_of_file, read_archive
from tracking.storage.retention.checkpoints import digest_of
from tracking.storage.retention.removal import ArchivedLog
from tracking.storage.retention.tables import ARCHIVES, CHECKPOINTS
from tracking.storage.tables import EVENTS, ORDERS

ORDERS_AT_ONCE = 300
_IDS: Any = bindparam("ids", expanding=True)
_COLUMNS = (ORDERS.c.id, ORDERS.c.po_number, ORDERS.c.event_count, ORDERS.c.head)
_ORDERS = select(*_COLUMNS).where(ORDERS.c.id.in_(_IDS))
_CHECKPOINTS = select(CHECKPOINTS).where(CHECKPOINTS.c.order_id.in_(_IDS))
_NEXT = select(EVENTS.c.previous).where(and_(EVENTS.c.order_id == bindparam("own"), EVENTS.c.seq == bindparam("seq")))
Heads = dict[tuple[int, int], str | None]


def check_archives(
    database: Database, folder: Path, progress: Callable[[int, int], None] | None = None
) -> tuple[int, list[str]]:
    """Check every recorded file in the folder; returns how many there are, and each difference in words."""
    with database.read() as connection:
        query = select(ARCHIVES).where(ARCHIVES.c.state.in_(("written", "removed", "lost"))).order_by(ARCHIVES.c.id)
        archives = connection.execute(query).mappings().all()
    differences: list[str] = []
    heads: Heads = {}
    for number, archive in enumerate(archives, 1):
        differences += _check_file(database, archive, folder / archive["file"], heads)
        if progress is not None:
            progress(number, len(archives))
    return len(archives), differences


def _check_file(database: Database, archive: Mapping[Any, Any], path: Path, heads: Heads) -> Iterator[str]:
    if not path.exists():
        elsewhere = archive["folder"] != str(path.parent.absolute())
        place = f"; it was written to {archive['folder']}" if elsewhere else ""
        yield f"{path.name}: it is not in the folder{place}"
        return
    try:
        if digest_of_file(path) != archive["digest"]:
            yield f"{path.name}: it is not the file that was written: its SHA-256 is another one"
        content = read_archive(path)
    except (OSError, StoreUnusable) as exc:
        yield f"{path.name}: it cannot be read ({exc})"
        return
    yield from content.faults
    for order_id, (seq, previous) in content.before.items():
        if heads.get((order_id, seq), previous) != previous:
            yield f"{content.po_numbers[order_id]}: {path.name} does not go on where an earlier file ends"
    heads |= {(log.order_id, log.seq): log.head for log in content.logs}
    for at in range(0, len(content.logs), ORDERS_AT_ONCE):
        with database.snapshot() as connection:
            yield from _check_orders(connection, content, content.logs[at : at + ORDERS_AT_ONCE])


def _check_orders(connection: Connection, content: ArchiveContent, logs: list[ArchivedLog]) -> Iterator[str]:
    ids = {"ids": [log.order_id for log in logs]}
    orders = {row["id"]: row for row in connection.execute(_ORDERS, ids).mappings()}
    checkpoints = {row["order_id"]: row for row in connection.execute(_CHECKPOINTS, ids).mappings()}
    for log in logs:
        name, row, checkpoint = (
            content.po_numbers[log.order_id],
            orders.get(log.order_id),
            checkpoints.get(log.order_id),
        )
        if row is None or row["po_number"] != name:
            yield f"{name}: the database has no such order under the number {log.order_id}"
            continue
        last = row["head"] if row["event_count"] == log.seq else None
        if last is None:
            last = connection.execute(_NEXT, {"own": log.order_id, "seq": log.seq + 1}).scalar()
        if last is not None and last != log.head:
            yield f"{name}: the database does not go on where the archive ends, after event {log.seq}"
        if checkpoint is not None and checkpoint["seq"] == log.seq:
            facts = content.facts[log.order_id]
            if digest_of(checkpoint, name, log.head, facts) != checkpoint["digest"]:
                yield f"{name}: its checkpoint is not over the facts in the archive"
