import os
import random
import struct
from pathlib import Path

import pytest
from powerloss import losses
from powerloss.disk import SECTOR, Disk, Kind, NotWhole, Operation, read_log
from powerloss.durabilities import DURABILITIES, Durability

from tracking.storage.sqlite.journal import keeps_wal

TRIES = 200
CUTS, ORDERS = 8, 4
FOLDER = "/store"


def did(kind: Kind, path: str = "", *, fd: int = -1, offset: int = 0, data: bytes = b"") -> Operation:
    return Operation(kind, fd, offset, f"{FOLDER}/{path}" if path else "", data)


def opened(path: str, fd: int = 3) -> Operation:
    return did(Kind.OPEN, path, fd=fd)


def written(data: bytes, offset: int = 0) -> Operation:
    return did(Kind.WRITE, fd=3, offset=offset, data=data)


FLUSHED = did(Kind.SYNC, fd=3)
FOLDER_FLUSHED = [Operation(Kind.OPEN, 4, 0, FOLDER, b""), did(Kind.SYNC, fd=4), did(Kind.CLOSE, fd=4)]


def left(*operations: Operation, name: str = "file") -> set[bytes | None]:
    """Everything the file may hold after a power loss; None where it may be gone."""
    disk, rng = Disk(FOLDER, f"{FOLDER}/aside"), random.Random(1)
    for operation in operations:
        disk.apply(operation)
    return {disk.after(rng).get(name) for _ in range(TRIES)}


def test_what_was_flushed_stays_and_what_was_not_may_go() -> None:
    flushed = [opened("file"), written(b"old"), FLUSHED, *FOLDER_FLUSHED]
    assert left(*flushed) == {b"old"}
    assert left(*flushed, written(b"new")) == {b"old", b"new"}
    assert left(*flushed, written(b"new"), FLUSHED) == {b"new"}


def test_a_size_may_arrive_without_its_data() -> None:
    flushed = [opened("file"), written(b"old"), FLUSHED, *FOLDER_FLUSHED]
    assert left(*flushed, written(b"+", 3)) == {b"old", b"old+", b"old\0"}
    assert left(*flushed, did(Kind.TRUNCATE, fd=3, offset=1)) == {b"old", b"o", b"o\0\0"}


def test_a_write_may_be_torn_between_sectors_never_within() -> None:
    old, new = b"a" * 2 * SECTOR, b"b" * 2 * SECTOR
    seen = left(opened("file"), written(old), FLUSHED, *FOLDER_FLUSHED, written(new))
    assert seen == {old, new, old[:SECTOR] + new[SECTOR:], new[:SECTOR] + old[SECTOR:]}


def test_a_sector_never_shows_a_later_write_without_the_earlier_one() -> None:
    seen = left(opened("file"), written(b"--"), FLUSHED, *FOLDER_FLUSHED, written(b"1"), written(b"2", 1))
    assert seen == {b"--", b"1-", b"12"}


def test_a_name_stays_only_with_the_flush_of_its_folder() -> None:
    made = [opened("file"), written(b"x"), FLUSHED]
    assert left(*made) == {None, b"x"}
    assert left(*made, *FOLDER_FLUSHED) == {b"x"}
    removed = [*made, *FOLDER_FLUSHED, did(Kind.UNLINK, "file")]
    assert left(*removed) == {None, b"x"}
    assert left(*removed, *FOLDER_FLUSHED) == {None}


def test_a_file_is_gone_with_its_folder() -> None:
    into = did(Kind.OPEN, "deep", fd=4)
    made = [did(Kind.MKDIR, "deep"), opened("deep/file"), written(b"x"), FLUSHED, into, did(Kind.SYNC, fd=4)]
    assert left(*made, name="deep/file") == {None, b"x"}
    assert left(*made, *FOLDER_FLUSHED, name="deep/file") == {b"x"}


def test_what_is_written_aside_is_handed_back_and_on_no_disk() -> None:
    disk = Disk(FOLDER, f"{FOLDER}/aside")
    disk.apply(opened("aside"))
    assert disk.apply(written(b"order P-1\n")) == b"order P-1\n"
    assert disk.after(random.Random(1)) == {}


def test_an_unknown_operation_ends_the_proof() -> None:
    with pytest.raises(NotWhole, match="rename"):
        Disk(FOLDER, f"{FOLDER}/aside").apply(did(Kind.UNKNOWN, "rename"))


def test_the_log_is_read_as_it_is_written() -> None:
    log = (
        struct.pack("=IiqII", Kind.WRITE, 7, 4096, 0, 3)
        + b"abc"
        + struct.pack("=IiqII", Kind.UNLINK, -1, 0, 2, 0)
        + b"/x"
    )
    assert list(read_log(log)) == [
        Operation(Kind.WRITE, 7, 4096, "", b"abc"),
        Operation(Kind.UNLINK, -1, 0, "/x", b""),
    ]


def measured(*names: str, folder: Path) -> list[losses.Figures]:
    try:
        library = losses.build_shadow(folder)
        return [_measured(DURABILITIES[name], library, folder) for name in names]
    except losses.Unavailable as exc:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"power losses cannot be played through here: {exc}")


def _measured(durability: Durability, library: Path, folder: Path) -> losses.Figures:
    own = folder / durability.name
    own.mkdir()
    return losses.measure(durability, library, own, cuts=CUTS, seed=1, orders=ORDERS)


def test_a_power_loss_takes_nothing_acknowledged_and_a_wrong_setting_is_seen_to(tmp_path: Path) -> None:
    ours, planted = measured(
        "ours: WAL+FULL" if keeps_wal() else "ours: DELETE+EXTRA",
        "WAL+NORMAL",
        folder=tmp_path,
    )
    assert ours.first == []
    assert ours.acknowledged > CUTS
    assert planted.lost > 0
