"""Checks archives against the store: bytes, hash chains, and that the store goes on where they end.

What a file holds of an order is proven by its head: the store has it as the order's own or, where events came later, as
the hash that the next one carries. Its facts are those over which the order's checkpoint was made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

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


class ArchivesElsewhere(NamedTuple):
    """Files that were written to another folder, and are not in the one that is checked."""

    folder: str
    is_there: bool
    files: int
    months: tuple[str, ...]


class ArchiveCheck(NamedTuple):
    """How many files were checked, each difference in words, and what lies elsewhere and was not checked."""

    files: int
    differences: list[str]
    elsewhere: list[ArchivesElsewhere]


def check_archives(
    database: Database,
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
    *,
    all_folders: bool = False,
) -> ArchiveCheck:
    """Check every recorded file in the folder; with `all_folders` others too, where they were written to.

    A file that is in neither is a difference, but for one of a folder that is not on this machine.
    """
    with database.read() as connection:
        query = select(ARCHIVES).where(ARCHIVES.c.state.in_(("written", "removed", "lost"))).order_by(ARCHIVES.c.id)
        archives = connection.execute(query).mappings().all()
    differences: list[str] = []
    heads: Heads = {}
    away: dict[str, list[str]] = {}
    for number, archive in enumerate(archives, 1):
        path = folder / archive["file"]
        if not path.exists() and (all_folders or not _is_elsewhere(archive, folder)):
            path = Path(archive["folder"]) / archive["file"]
        if path.exists() or all_folders or not _is_elsewhere(archive, folder):
            differences += _check_file(database, archive, path, heads)
        else:
            away.setdefault(archive["folder"], []).append(archive["month"])
        if progress is not None:
            progress(number, len(archives))
    elsewhere = [_elsewhere(place, months) for place, months in sorted(away.items())]
    checked = len(archives) - sum(place.files for place in elsewhere)
    if elsewhere and not checked:
        differences.append(f"no file of the archives is in {folder}")
    return ArchiveCheck(checked, differences, elsewhere)


def _is_elsewhere(archive: Mapping[Any, Any], folder: Path) -> bool:
    """Whether the file was written to another folder, and is there or nobody can say from here."""
    written_to = Path(archive["folder"])
    same = written_to == folder.absolute() or (written_to.exists() and folder.exists() and written_to.samefile(folder))
    return not same and ((written_to / archive["file"]).exists() or not written_to.exists())


def _elsewhere(folder: str, months: list[str]) -> ArchivesElsewhere:
    return ArchivesElsewhere(folder, Path(folder).exists(), len(months), tuple(sorted(set(months))))


def _check_file(database: Database, archive: Mapping[Any, Any], path: Path, heads: Heads) -> Iterator[str]:
    if not path.exists():
        yield f"{path.name}: it is not in the folder that it was written to, {archive['folder']}"
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
