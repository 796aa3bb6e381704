"""A disk that keeps for sure only what was flushed, rebuilt from the log of what a process did to its files.

Every sector of a file, its size and every name in a folder is a *cell* with a history since its last flush. A power
loss leaves each cell in one of the states of its history, of which the flushed one is the earliest: a disk promises no
more. How the cells hang together differs (`Loss`), from a file system that writes in order to one where each sector
goes its own way, which also tears what was written at once.

A file that is made, removed or linked is so for sure after the flush of its folder, not after its own.
"""

import struct
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path, PurePosixPath
from random import Random

SECTOR = 512
_HEADER = struct.Struct("=IiqII")


class Kind(IntEnum):
    """What was done; the numbers are those of shadow.c."""

    OPEN = 1
    WRITE = 2
    TRUNCATE = 3
    SYNC = 4
    CLOSE = 5
    UNLINK = 6
    LINK = 7
    MKDIR = 8
    UNKNOWN = 9


@dataclass(frozen=True, slots=True)
class Operation:
    """One entry of the log. `offset` is the size after a TRUNCATE, and 1 in an OPEN that empties the file."""

    kind: Kind
    fd: int
    offset: int
    path: str
    data: bytes


class NotWhole(Exception):
    """The log holds something that this disk does not know, so that nothing can be proven by it."""


def read_log(log: bytes) -> Iterator[Operation]:
    """The operations in the order in which they were done."""
    at = 0
    while at < len(log):
        kind, fd, offset, path, data = _HEADER.unpack_from(log, at)
        at += _HEADER.size
        yield Operation(Kind(kind), fd, offset, log[at : at + path].decode(), log[at + path : at + path + data])
        at += path + data


class Loss:
    """One power loss: how much of each cell's history had reached the disk.

    Args:
        rng: chance.
        now: the number of the operation that was the last.
        since: the number of the first operation that is not flushed.
    """

    def __init__(self, rng: Random, now: int, since: int) -> None:
        self._rng = rng
        self._way = rng.choice((self._nothing, self._in_order, self._by_file, self._by_write, self._by_sector))
        self._cut = rng.randint(since, now + 1)
        self._share = rng.random()
        self._known: dict[object, bool] = {}

    def reached(self, file: object, history: Sequence[int]) -> int:
        """How many of the changes of a cell of this file, told by the operations' numbers, are on the disk."""
        return self._way(file, history)

    def _nothing(self, _file: object, _history: Sequence[int]) -> int:
        return 0

    def _in_order(self, _file: object, history: Sequence[int]) -> int:
        return sum(number < self._cut for number in history)

    def _by_file(self, file: object, history: Sequence[int]) -> int:
        return len(history) if self._kept(file) else 0

    def _by_write(self, _file: object, history: Sequence[int]) -> int:
        return max((count for count, number in enumerate(history, start=1) if self._kept(number)), default=0)

    def _by_sector(self, _file: object, history: Sequence[int]) -> int:
        return self._rng.randint(0, len(history))

    def _kept(self, what: object) -> bool:
        return self._known.setdefault(what, self._rng.random() < self._share)


@dataclass(frozen=True, slots=True)
class _Change:
    """A write of the data at the offset; without data, a truncation to the offset."""

    number: int
    offset: int
    data: bytes | None

    def size_after(self, size: int) -> int:
        return self.offset if self.data is None else max(size, self.offset + len(self.data))

    def sectors(self, largest: int) -> range:
        end = largest if self.data is None else self.offset + len(self.data)
        return range(self.offset // SECTOR, -(-end // SECTOR))

    def put(self, content: bytearray, first: int, last: int) -> None:
        """Brings the bytes from `first` to before `last` to what the change made of them."""
        begin, end = max(first, self.offset), last
        if self.data is None:
            content[begin:end] = bytes(max(end - begin, 0))
        else:
            end = min(end, self.offset + len(self.data))
            content[begin:end] = self.data[begin - self.offset : end - self.offset]


@dataclass(eq=False)
class _File:
    """The content that was flushed, and what was done since."""

    flushed: bytearray = field(default_factory=bytearray)
    changes: list[_Change] = field(default_factory=list)

    def flush(self) -> None:
        size = len(self.flushed)
        for change in self.changes:
            size = change.size_after(size)
            if change.data is not None and change.offset + len(change.data) > len(self.flushed):
                self.flushed.extend(bytes(change.offset + len(change.data) - len(self.flushed)))
            change.put(self.flushed, 0, len(self.flushed))
            del self.flushed[size:]
        self.changes.clear()

    def after(self, loss: Loss) -> bytes:
        """What it holds after the loss; what a size that arrived without its data shows is zero."""
        sizes = [len(self.flushed)]
        for change in self.changes:
            sizes.append(change.size_after(sizes[-1]))
        moved = [
            change.number
            for change, before, after in zip(self.changes, sizes, sizes[1:], strict=False)
            if before != after
        ]
        size_of = dict(zip((change.number for change in self.changes), sizes[1:], strict=True))
        arrived = loss.reached(self, moved)
        size = size_of[moved[arrived - 1]] if arrived else sizes[0]

        content = bytearray(max(sizes))
        content[: len(self.flushed)] = self.flushed
        for sector, history in self._histories(max(sizes)).items():
            for change in history[: loss.reached(self, [change.number for change in history])]:
                change.put(content, sector * SECTOR, min((sector + 1) * SECTOR, len(content)))
        return bytes(content[:size])

    def _histories(self, largest: int) -> dict[int, list[_Change]]:
        histories: dict[int, list[_Change]] = defaultdict(list)
        for change in self.changes:
            for sector in change.sectors(largest):
                histories[sector].append(change)
        return histories


@dataclass(eq=False)
class _Folder:
    """The names that were flushed, and what was done to them since; None: the name was removed."""

    flushed: dict[str, "_File | _Folder"] = field(default_factory=dict)
    changes: list[tuple[int, str, "_File | _Folder | None"]] = field(default_factory=list)

    def flush(self) -> None:
        self.flushed = self.now()
        self.changes.clear()

    def now(self) -> dict[str, "_File | _Folder"]:
        names = dict(self.flushed)
        for _, name, what in self.changes:
            _name(names, name, what)
        return names

    def after(self, loss: Loss) -> dict[str, "_File | _Folder"]:
        names = dict(self.flushed)
        for name in dict.fromkeys(name for _, name, _ in self.changes):
            history = [(number, what) for number, changed, what in self.changes if changed == name]
            if arrived := loss.reached(self, [number for number, _ in history]):
                _name(names, name, history[arrived - 1][1])
        return names


def _name(names: dict[str, "_File | _Folder"], name: str, what: "_File | _Folder | None") -> None:
    if what is None:
        names.pop(name, None)
    else:
        names[name] = what


class Disk:
    """What the operations so far made of a folder.

    Args:
        folder: absolute, as it was given to the process; it exists and will exist.
        aside: a file below it that is no part of the disk: what is written to it is handed back by `apply`.
    """

    def __init__(self, folder: str, aside: str) -> None:
        self._root = PurePosixPath(folder)
        self._aside = PurePosixPath(aside)
        self._top = _Folder()
        self._open: dict[int, _File | _Folder | None] = {}
        self._number = 0

    def apply(self, operation: Operation) -> bytes | None:
        """Takes in the next operation; returns what it wrote aside.

        Raises:
            NotWhole: this disk does not know such an operation.
        """
        self._number += 1
        match operation.kind:
            case Kind.OPEN:
                self._opened(operation)
            case Kind.CLOSE:
                self._open.pop(operation.fd, None)
            case Kind.SYNC:
                if (what := self._open[operation.fd]) is not None:
                    what.flush()
            case Kind.WRITE | Kind.TRUNCATE:
                return self._changed(operation)
            case Kind.UNLINK:
                self._named(operation.path, None)
            case Kind.LINK:
                self._named(operation.data.decode(), self._at(PurePosixPath(operation.path)))
            case Kind.MKDIR:
                self._named(operation.path, _Folder())
            case Kind.UNKNOWN:
                raise NotWhole(f"{operation.path or operation.fd}: changed in a way that the disk does not know")
        return None

    def after(self, loss_of: Random) -> dict[str, bytes | None]:
        """The files by their path below the folder, and the folders (None), as one power loss may leave them."""
        loss = Loss(loss_of, self._number, min(_unflushed(self._top), default=self._number))
        return dict(_after(self._top, "", loss))

    def _opened(self, operation: Operation) -> None:
        path = PurePosixPath(operation.path)
        if path == self._aside:
            self._open[operation.fd] = None
            return
        try:
            what = self._at(path)
        except KeyError:
            what = _File()
            self._named(operation.path, what)
        if operation.offset and isinstance(what, _File):
            what.changes.append(_Change(self._number, 0, None))
        self._open[operation.fd] = what

    def _changed(self, operation: Operation) -> bytes | None:
        what = self._open[operation.fd]
        if what is None:
            return operation.data
        if isinstance(what, _Folder):
            raise NotWhole("a folder was written to")
        data = operation.data if operation.kind == Kind.WRITE else None
        what.changes.append(_Change(self._number, operation.offset, data))
        return None

    def _named(self, path: str, what: _File | _Folder | None) -> None:
        where = PurePosixPath(path)
        folder = self._at(where.parent)
        if not isinstance(folder, _Folder):
            raise NotWhole(f"{where.parent} is no folder")
        folder.changes.append((self._number, where.name, what))

    def _at(self, path: PurePosixPath) -> _File | _Folder:
        what: _File | _Folder = self._top
        for name in path.relative_to(self._root).parts:
            if isinstance(what, _File):
                raise NotWhole(f"{path} lies in a file")
            what = what.now()[name]
        return what


def _unflushed(folder: _Folder) -> Iterator[int]:
    yield from (number for number, _, _ in folder.changes)
    for what in {*folder.flushed.values(), *folder.now().values()}:
        if isinstance(what, _File):
            yield from (change.number for change in what.changes)
        else:
            yield from _unflushed(what)


def _after(folder: _Folder, below: str, loss: Loss) -> Iterator[tuple[str, bytes | None]]:
    for name, what in folder.after(loss).items():
        if isinstance(what, _File):
            yield below + name, what.after(loss)
        else:
            yield below + name, None
            yield from _after(what, f"{below}{name}/", loss)


def write_out(content: dict[str, bytes | None], folder: Path) -> None:
    """Makes the folder and what is in it."""
    folder.mkdir()
    for name, data in content.items():
        if data is None:
            (folder / name).mkdir()
        else:
            (folder / name).write_bytes(data)
