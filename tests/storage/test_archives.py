"""Archives: what leaves goes to Parquet files first, whatever is killed where."""

import asyncio
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa
from histories import History
from test_retention import order, past, rows

from tracking import files
from tracking.errors import StoreBusy, StoreUnusable
from tracking.reports.health import ComponentStatus, component_status
from tracking.storage.maintenance.verify import verify
from tracking.storage.retention import archiving
from tracking.storage.retention.archive_check import ArchivesElsewhere, check_archives
from tracking.storage.retention.archive_file import ArchiveWriter, rows_of
from tracking.storage.retention.archiving import Archived, Archiver
from tracking.storage.retention.cleanup import Cleanup
from tracking.storage.retention.lease import take_lease
from tracking.storage.retention.tables import ARCHIVES
from tracking.storage.tables import EVENTS, LINES, ORDERS

assert past  # a fixture


class Killed(Exception):
    """The process ends here."""


def archive(history: History, folder: Path, *, dry_run: bool = False) -> Archived:
    who: dict[str, Any] = {"owner": "test", "by": "Ann", "clock": lambda: history.at}
    return Archiver(history.database, folder, **who).run(history.at, dry_run=dry_run)


def components_of(history: History) -> list[ComponentStatus]:
    with history.database.read() as connection:
        return list(component_status(connection, history.at))


def stored(history: History) -> list[tuple[Any, ...]]:
    with history.database.read() as connection:
        columns = (ARCHIVES.c[name] for name in ("file", "state", "orders", "events"))
        return [tuple(row) for row in connection.execute(sa.select(*columns).order_by(ARCHIVES.c.id))]


def test_files_in_another_folder_are_named_and_do_not_fail_the_check(past: History, tmp_path: Path) -> None:
    ours, other = tmp_path / "a", tmp_path / "b"
    archive(past, ours)
    [file] = ours.iterdir()
    other.mkdir()
    later = other / "orders-2026-04-0001.parquet"
    shutil.copy(file, later)

    def write(connection: sa.Connection) -> None:
        row = dict(connection.execute(sa.select(ARCHIVES)).mappings().one())
        copied = {"id": None, "month": "2026-04", "folder": str(other), "file": later.name}
        connection.execute(sa.insert(ARCHIVES).values({name: value for name, value in (row | copied).items() if value}))

    past.database.write(write)
    place = ArchivesElsewhere(str(other), True, 1, ("2026-04",))
    assert check_archives(past.database, ours) == (1, [], [place])
    assert check_archives(past.database, ours, all_folders=True) == (2, [], [])
    assert check_archives(past.database, tmp_path / "c").differences == [
        f"no file of the archives is in {tmp_path / 'c'}"
    ]
    moved = later.rename(ours / later.name)
    assert check_archives(past.database, ours) == (2, [], [])
    moved.unlink()
    assert later.name in check_archives(past.database, ours).differences[0]
    other.rmdir()
    assert check_archives(past.database, ours) == (1, [], [place._replace(is_there=False)])
    assert later.name in check_archives(past.database, ours, all_folders=True).differences[0]


def test_what_leaves_is_in_a_file_that_pandas_reads_and_that_proves_itself(past: History, tmp_path: Path) -> None:
    events = order(past, "po-1")["event_count"] + order(past, "po-2")["event_count"]
    assert archive(past, tmp_path / "a", dry_run=True).months == {"2026-03": 2}
    assert not (tmp_path / "a").exists()
    done = archive(past, tmp_path / "a")
    name = "orders-2026-03-0001.parquet"
    assert ([Path(file).name for file in done.files], done.orders, done.events, done.removed) == ([name], 2, events, 2)
    assert stored(past) == [(name, "removed", 2, events)]
    assert [order(past, f"po-{number}")["events_removed"] > 0 for number in (1, 2, 3)] == [True, True, False]
    assert verify(past.database) == []
    assert check_archives(past.database, tmp_path / "a") == (1, [], [])
    frame = pd.read_parquet(tmp_path / "a" / name)
    assert frame.groupby("record").size().to_dict() == {
        "order": 2, "event": events, "line": 6, "call": 1, "webhook": 1
    }  # fmt: skip
    first = frame[frame["record"] == "order"].iloc[0]
    assert (first["po_number"], first["state"], first["value_minor"]) == ("po-1", "Completed", 3000)
    assert first["head"] == order(past, "po-1")["head"]
    assert (str(frame["created_at"].dtype), first["created_at"].tzinfo is not None) == ("datetime64[us, UTC]", True)
    assert "example.com" not in frame.to_csv()


def test_a_later_order_of_the_same_month_makes_a_further_part(past: History, tmp_path: Path) -> None:
    past.acknowledge("po-1", "keep it a little")
    archive(past, tmp_path)
    past.wait(days=40)
    past.place("po-9")
    past.accept("po-9")
    assert archive(past, tmp_path).files == [str(tmp_path / "orders-2026-08-0001.parquet")]
    past.acknowledge("po-1", "once more")
    past.wait(days=1)
    past.find_open("elsewhere")
    past.wait(days=1)
    assert archive(past, tmp_path).files == [str(tmp_path / "orders-2026-10-0001.parquet")]
    assert verify(past.database) == []
    assert check_archives(past.database, tmp_path) == (3, [], [])


KILLS = (
    (ArchiveWriter, "finish"),
    (archiving, "read_archive"),
    (files, "flush_folder"),
    (archiving, "_record"),
    (archiving.Archiver, "_remove"),
    (archiving.Archiver, "_step"),
)


@pytest.mark.parametrize(("place", "name"), KILLS, ids=[name for _, name in KILLS])
@pytest.mark.parametrize("after", [False, True])
def test_killed_anywhere_nothing_is_lost_and_nothing_doubled(
    past: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Any, name: str, after: bool
) -> None:
    events = rows(past, EVENTS, 1) + rows(past, EVENTS, 2)
    real, folder = getattr(place, name), tmp_path / "a"
    folder.mkdir()

    def killed(*args: Any, **kwargs: Any) -> Any:
        if after:
            real(*args, **kwargs)
        raise Killed

    monkeypatch.setattr(place, name, killed)
    if name != "finish":
        monkeypatch.setattr(ArchiveWriter, "discard", lambda _: None)
    with pytest.raises(Killed):
        archive(past, folder)
    monkeypatch.undo()
    assert verify(past.database) == []
    gone = events - rows(past, EVENTS, 1) - rows(past, EVENTS, 2)
    assert gone in {0, events}
    assert not gone or stored(past)[0][1] in {"written", "removed"}
    archive(past, folder)
    assert [file.name for file in folder.iterdir()] == ["orders-2026-03-0001.parquet"]
    assert stored(past) == [("orders-2026-03-0001.parquet", "removed", 2, events)]
    assert rows(past, EVENTS, 1) + rows(past, EVENTS, 2) == 0
    assert check_archives(past.database, folder) == (1, [], [])
    assert verify(past.database) == []


def test_what_happened_while_a_file_was_written_keeps_the_order_whole(
    past: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Archiver._remove

    def late(archiver: Archiver, *args: Any) -> None:
        past.announce("po-1")
        real(archiver, *args)

    monkeypatch.setattr(Archiver, "_remove", late)
    assert archive(past, tmp_path).removed == 1
    assert (order(past, "po-1")["events_removed"], rows(past, LINES, 1)) == (0, 3)
    assert verify(past.database) == []
    assert check_archives(past.database, tmp_path) == (1, [], [])


def test_a_file_that_is_gone_or_was_changed_is_named(past: History, tmp_path: Path) -> None:
    [file] = map(Path, archive(past, tmp_path).files)
    past.database.write(
        lambda connection: connection.execute(sa.update(ORDERS).where(ORDERS.c.id == 1).values(head="0"))
    )
    assert "po-1: the database does not go on" in check_archives(past.database, tmp_path).differences[0]
    content = file.read_bytes()
    file.write_bytes(content[:-1] + b"x")
    assert "cannot be read" in check_archives(past.database, tmp_path).differences[-1]
    file.unlink()
    assert check_archives(past.database, tmp_path).differences == [
        f"{file.name}: it is not in the folder that it was written to, {tmp_path}"
    ]


def test_a_file_that_does_not_hold_what_was_written_costs_no_order_its_log(
    past: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = rows_of
    monkeypatch.setattr(archiving, "rows_of", lambda *args: list(real(*args))[:-3])
    with pytest.raises(StoreUnusable, match="does not hold"):
        archive(past, tmp_path)
    assert (list(tmp_path.iterdir()), stored(past), order(past, "po-1")["events_removed"]) == ([], [], 0)


def test_one_process_at_a_time_removes(past: History, tmp_path: Path) -> None:
    assert past.database.write(lambda connection: take_lease(connection, "other", past.at)) is not None
    with pytest.raises(StoreBusy):
        archive(past, tmp_path)
    past.wait(minutes=6)
    assert archive(past, tmp_path).removed == 2


def test_a_run_that_ended_or_failed_holds_up_no_other(past: History, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnusable, match="cannot be written"):
        archive(past, tmp_path / "file")
    assert archive(past, tmp_path / "a").removed == 2
    lease = past.database.write(lambda connection: take_lease(connection, "other", past.at))
    assert lease is not None
    assert (lease["owner"], lease["orders"], lease["removed_at"]) == ("other", 2, past.at.isoformat())


def test_whoever_lost_the_right_to_remove_while_it_wrote_a_file_removes_nothing(
    past: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process took the file for one that was left behind, deleted it, and died before it wrote its own."""
    real = files.flush_folder

    def stalls(folder: Path) -> None:
        real(folder)
        past.wait(minutes=6)
        other = Archiver(past.database, folder, owner="other", by="Bea", clock=lambda: past.at)
        past.database.write(other._lease)
        other._resume(past.at)
        past.wait(minutes=6)

    monkeypatch.setattr(files, "flush_folder", stalls)
    events = rows(past, EVENTS, 1)
    with pytest.raises(StoreBusy):
        archive(past, tmp_path)
    assert (list(tmp_path.iterdir()), stored(past)) == ([], [])
    assert (order(past, "po-1")["events_removed"], rows(past, EVENTS, 1)) == (0, events)
    monkeypatch.undo()
    assert archive(past, tmp_path).removed == 2
    assert check_archives(past.database, tmp_path) == (1, [], [])


def test_a_folder_that_cannot_be_written_is_shown_until_it_can(past: History, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    kept_for = past.database, timedelta()
    who: dict[str, Any] = {"owner": "loop", "clock": lambda: past.at}
    with pytest.raises(StoreUnusable):
        asyncio.run(Cleanup(*kept_for, **who, archive=tmp_path / "file").turn())
    [shown] = [one for one in components_of(past) if one.name == "Archive"]
    assert (shown.worrying, f"{tmp_path / 'file'} cannot be written" in shown.text) == (True, True)
    asyncio.run(Cleanup(*kept_for, **who, archive=tmp_path / "a").turn())
    names = [one.name for one in components_of(past)]
    assert ("Archive" in names, "Old logs removed" in names) == (False, True)
    assert past.database.write(lambda connection: take_lease(connection, "other", past.at)) is not None
