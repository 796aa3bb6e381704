"""Durable files and folders: a name survives a power loss only once its folder was flushed (fsync)."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO


def make_folder(folder: Path) -> None:
    """Make the folder and those above it where they are missing, all of them there to stay. Raises OSError."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    # The folder itself also where it exists: who made it may have died before the flush.
    for each in missing or [folder]:
        flush_folder(each.parent)


def flush_folder(folder: Path) -> None:
    """Brings the names in the folder to the disk, where the file system can do that for a folder."""
    with contextlib.suppress(OSError):  # some refuse it, and then SQLite goes on without it as well
        flush(folder)


def flush(path: Path) -> None:
    """Brings a file or folder to the disk. Not for a database file: closing it drops the locks of this process."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_once(path: Path, text: str) -> None:
    """Writes the file whole or not at all; of two processes that start together one wins and both read the same."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(name, path)
    finally:
        Path(name).unlink()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Opens a temporary file beside the path that takes its place at the end of the block; none is left by an error."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink()
        raise
