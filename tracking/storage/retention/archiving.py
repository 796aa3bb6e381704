"""Archiving: writes old orders to Parquet files, and removes them once a file is whole, flushed and recorded.

A file is begun in the table of archives, written under a temporary name, flushed, read again and verified, renamed,
and recorded with its digest; then its orders leave in small steps. Whatever is killed where, the next run goes on: a
file that was not recorded is deleted, as nothing of it left; of one that was, what it holds is removed. Only whoever
has the lease of removals does any of it.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, bindparam, delete, exists, func, insert, select, tuple_, update
from sqlalchemy.engine import RowMapping

from tracking import files
from tracking.errors import StoreBusy, StoreError, StoreUnusable
from tracking.orders.model import State
from tracking.storage.database import Database
from tracking.storage.retention.archive_file import ArchiveWriter, digest_of_file, read_archive, rows_of
from tracking.storage.retention.lease import count_removed, release_lease, take_lease
from tracking.storage.retention.removal import AT_THEIR_END, ArchivedLog, judge, put_off, remove_archived
from tracking.storage.retention.tables import ARCHIVES
from tracking.storage.tables import EVENTS, FINISHED, LINES, ORDERS

log = logging.getLogger(__name__)

ORDERS_OF_A_FILE = 20_000
ORDERS_READ = 100
PAGE = 500
PAUSE = 0.02
Progress = Callable[[int, int], None]
_newest = select(EVENTS.c.learned_at).where(EVENTS.c.order_id == ORDERS.c.id).order_by(EVENTS.c.seq.desc()).limit(1)
_of_completed = ORDERS.c.state == State.COMPLETED.value, LINES.c.order_id == ORDERS.c.id
_unfinished = exists().where(*_of_completed, LINES.c.status.not_in(sorted(AT_THEIR_END)))
_PLACE = (ORDERS.c.quiet_since, ORDERS.c.id)
_CANDIDATES = (
    select(*_PLACE, _newest.scalar_subquery().label("ended_at"), _unfinished.label("unfinished"))
    .where(FINISHED, ORDERS.c.quiet_since < bindparam("before"))
    .order_by(*_PLACE)
    .limit(PAGE)
)


@dataclass(slots=True)
class Archived:
    """What an archiving did: the files written, their orders and events, and how many orders left the store.

    `months` counts the orders that may leave, by the month of their end; of a dry run that is all. `unsound` do not
    agree with their log and stay. `lost` are files that are not there any more as they were written.
    """

    files: list[str] = field(default_factory=list)
    months: dict[str, int] = field(default_factory=dict)
    orders: int = 0
    events: int = 0
    removed: int = 0
    unsound: int = 0
    lost: list[str] = field(default_factory=list)


class Archiver:
    """Archives and removes what was quiet before a time; `by` is who says so, for the table of archives."""

    def __init__(
        self,
        database: Database,
        folder: Path,
        *,
        owner: str,
        by: str,
        clock: Callable[[], datetime],
        progress: Progress | None = None,
    ) -> None:
        self._database, self._folder, self._owner, self._by = database, folder, owner, by
        self._clock, self._progress = clock, progress
        self.result = Archived()

    def run(self, before: datetime, *, dry_run: bool = False) -> Archived:
        """Archive and remove all of it; with `dry_run` only count.

        Raises:
            StoreBusy: another process removes at the moment.
            StoreUnusable: the folder cannot be written, or a file does not hold what was written.
        """
        if dry_run:
            self._count_months(before)
            return self.result
        self._database.write(self._lease)
        try:
            self._run(before)
        except (Exception, KeyboardInterrupt):  # whatever else ends it ends the process, which writes no more
            self._release()
            raise
        self._release()
        return self.result

    def _run(self, before: datetime) -> None:
        try:
            files.make_folder(self._folder)
            self._resume(before)
            for month, order_ids in self._count_months(before):
                for at in range(0, len(order_ids), ORDERS_OF_A_FILE):
                    self._archive(month, order_ids[at : at + ORDERS_OF_A_FILE], before)
        except OSError as exc:
            raise StoreUnusable(f"{self._folder} cannot be written ({exc.strerror})") from exc

    def _release(self) -> None:
        """Release the lease so that the next run may begin; where that cannot be written, it ends by itself."""
        with suppress(StoreError):
            self._database.write(partial(release_lease, owner=self._owner, now=self._clock()))

    # Which orders

    def _count_months(self, before: datetime) -> list[tuple[str, list[int]]]:
        months = sorted(self._months(before).items())
        self.result.months = {month: len(order_ids) for month, order_ids in months}
        return months

    def _months(self, before: datetime) -> dict[str, list[int]]:
        """Find the orders that may leave, by the month of their end, each month's oldest first."""
        months: dict[str, list[int]] = defaultdict(list)
        for row in self._candidates(before):
            if row["ended_at"] is not None and row["ended_at"] < before and not row["unfinished"]:
                months[f"{row['ended_at'].astimezone(UTC):%Y-%m}"].append(row["id"])
        return months

    def _candidates(self, before: datetime) -> Iterator[RowMapping]:
        query, last = _CANDIDATES, None
        while True:
            with self._database.read() as connection:
                rows = connection.execute(query, {"before": before} | (last or {})).mappings().all()
            yield from rows
            if len(rows) < PAGE:
                return
            place = (bindparam(column.name, type_=column.type) for column in _PLACE)
            query = _CANDIDATES.where(tuple_(*_PLACE) > tuple_(*place))
            last = {name: rows[-1][name] for name in ("quiet_since", "id")}

    # One file

    def _archive(self, month: str, order_ids: Sequence[int], before: datetime) -> None:
        archive = self._database.write(partial(self._begin, month=month))
        path = self._folder / archive["file"]
        temporary = path.with_name(f".{path.name}.part")
        logs = self._write(temporary, order_ids, before)
        if not logs:
            temporary.unlink(missing_ok=True)
            self._database.write(partial(_forget, archive_id=archive["id"]))
            return
        content = read_archive(temporary)
        if content.faults or content.logs != logs:
            temporary.unlink()
            self._database.write(partial(_forget, archive_id=archive["id"]))
            raise StoreUnusable(f"{path} does not hold what was written to it: {'; '.join(content.faults[:3])}")
        digest = digest_of_file(temporary)
        temporary.rename(path)
        files.flush_folder(self._folder)
        whole = {"state": "written", "digest": digest, "orders": len(logs), "events": content.events}
        self._database.write(partial(self._record_whole, archive_id=archive["id"], values=whole))
        self.result.files.append(str(path))
        self.result.orders += len(logs)
        self.result.events += content.events
        self._remove(archive["id"], logs, before)

    def _begin(self, connection: Connection, month: str) -> RowMapping:
        self._lease(connection)
        newest = connection.execute(select(func.max(ARCHIVES.c.part)).where(ARCHIVES.c.month == month)).scalar() or 0
        part = newest + 1
        while (self._folder / file_name(month, part)).exists():
            part += 1  # of another database
        row = {"month": month, "part": part, "folder": str(self._folder.absolute()), "file": file_name(month, part)}
        begun = insert(ARCHIVES).values(**row, state="writing", orders=0, events=0, at=self._clock(), by=self._by)
        return connection.execute(begun.returning(ARCHIVES.c.id, ARCHIVES.c.file)).mappings().one()

    def _record_whole(self, connection: Connection, archive_id: int, values: dict[str, Any]) -> None:
        """Record the file, unless another process took it for one that was left behind, and has deleted it."""
        self._lease(connection)
        if not _record(connection, archive_id, values):
            raise StoreBusy("another process took over while this one stood still; what it wrote was given up")

    def _write(self, path: Path, order_ids: Sequence[int], before: datetime) -> list[ArchivedLog]:
        """Write what may leave of these orders, and return what was written."""
        path.unlink(missing_ok=True)
        writer, logs = ArchiveWriter(path), []
        try:
            for at in range(0, len(order_ids), ORDERS_READ):
                logs += self._write_some(writer, order_ids[at : at + ORDERS_READ], before)
                if self._progress is not None:
                    self._progress(min(at + ORDERS_READ, len(order_ids)), len(order_ids))
            writer.finish()
        except BaseException:
            writer.discard()
            raise
        return logs

    def _write_some(self, writer: ArchiveWriter, order_ids: Sequence[int], before: datetime) -> list[ArchivedLog]:
        """Write those of a few orders that may leave; the others are looked at again later."""
        later: dict[int, datetime] = {}
        rows: list[dict[str, Any]] = []
        logs: list[ArchivedLog] = []
        with self._database.snapshot() as connection:
            for order_id in order_ids:
                judged = judge(connection, order_id, before, self._clock(), locked=False)
                if judged is not None and judged.until is not None:
                    self.result.unsound += judged.unsound
                    later[order_id] = judged.until
                elif judged is not None:
                    row = judged.log.row
                    logs.append(ArchivedLog(order_id, row["event_count"], row["head"]))
                    rows += rows_of(connection, judged.log)
        writer.write(rows)
        self._database.write(partial(self._put_off, later=later))
        return logs

    def _put_off(self, connection: Connection, later: dict[int, datetime]) -> None:
        self._lease(connection)
        for order_id, until in later.items():
            put_off(connection, order_id, until)

    # Removal

    def _remove(self, archive_id: int, logs: Sequence[ArchivedLog], before: datetime) -> None:
        """Have the orders of a recorded file leave, step by step."""
        left = [ArchivedLog(one.order_id, one.seq, one.head, archive_id) for one in logs]
        while left:
            orders, done = self._database.write(partial(self._step, logs=left, before=before))
            self.result.removed += orders
            left = left[done:]
            time.sleep(PAUSE)
        ended = {"state": "removed", "finished_at": self._clock()}
        self._database.write(partial(_record, archive_id=archive_id, values=ended))

    def _step(self, connection: Connection, logs: Sequence[ArchivedLog], before: datetime) -> tuple[int, int]:
        """Returns how many orders left, and how many of these logs are dealt with."""
        so_far = self._lease(connection)
        removed, done = remove_archived(connection, logs, before, self._clock())
        count_removed(connection, so_far, removed, self._clock())
        return removed.orders, done

    def _lease(self, connection: Connection) -> Any:
        so_far = take_lease(connection, self._owner, self._clock())
        if so_far is None:
            raise StoreBusy(
                "another process, such as a console with TRACKING_KEEP_DAYS, removes old orders at the moment"
            )
        return so_far

    # After a kill

    def _resume(self, before: datetime) -> None:
        """Go on with files that an earlier run left: delete those that were not recorded, remove what others hold."""
        with self._database.read() as connection:
            begun = select(ARCHIVES).where(ARCHIVES.c.state.in_(("writing", "written"))).order_by(ARCHIVES.c.id)
            archives = connection.execute(begun).mappings().all()
        for archive in archives:
            path = Path(archive["folder"]) / archive["file"]
            if archive["state"] == "writing":
                for name in (path, path.with_name(f".{path.name}.part")):
                    name.unlink(missing_ok=True)
                self._database.write(partial(_forget, archive_id=archive["id"]))
            elif path.exists() and digest_of_file(path) == archive["digest"]:
                self._remove(archive["id"], read_archive(path).logs, before)
            else:
                log.error("archive %s is not there as it was written; what is left of it here stays", archive["file"])
                self.result.lost.append(str(path))
                self._database.write(partial(_record, archive_id=archive["id"], values={"state": "lost"}))


def file_name(month: str, part: int) -> str:
    """Name the file of a month, "2026-01": orders-2026-01-0001.parquet."""
    return f"orders-{month}-{part:04}.parquet"


def _record(connection: Connection, archive_id: int, values: dict[str, Any]) -> bool:
    """Update the archive's row; returns whether it is there."""
    return connection.execute(update(ARCHIVES).where(ARCHIVES.c.id == archive_id).values(values)).rowcount > 0


def _forget(connection: Connection, archive_id: int) -> None:
    connection.execute(delete(ARCHIVES).where(ARCHIVES.c.id == archive_id))
