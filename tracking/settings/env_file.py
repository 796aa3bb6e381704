"""The file `.env`: its lines parsed, and those that would have no effect."""

import codecs
import io
import logging
import os
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from dotenv.parser import Binding, parse_stream

from tracking.errors import Problem, SettingsError

_REFERENCE = re.compile(r"\$\{([^}:]+)\}")  # one with :- has a value of its own beside it

# Lines that cannot be read are said in words of ours, with what to do.
logging.getLogger("dotenv.main").setLevel(logging.ERROR)


def read_env_file(path: Path) -> list[Binding]:
    """Parse the file's lines, none where there is no file. Raises SettingsError where it cannot be read."""
    if path.is_dir():
        raise SettingsError([Problem(str(path), "is a folder: put a file there, or take it away")])
    try:
        data = path.read_bytes() if path.is_file() else b""
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in data:
            raise SettingsError([Problem(str(path), "is in UTF-16: save it as UTF-8")])
        return list(parse_stream(io.StringIO(data.decode("utf-8-sig"))))
    except OSError as exc:
        raise SettingsError([Problem(str(path), f"cannot be read ({exc.strerror})")]) from exc
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise SettingsError([Problem(str(path), f"is not in UTF-8, see line {line}: save it as UTF-8")]) from None


def dropped_lines(path: Path, lines: Iterable[Binding], prefix: str) -> Iterator[Problem]:
    """List the lines about names with this prefix of which something would be dropped without a word."""
    lines = list(lines)
    names = {*os.environ, *(line.key for line in lines)}
    for line in lines:
        text = line.original.string.strip().upper()
        ours = prefix.rstrip("_") in text and not text.startswith("#")
        if ours and (line.error or (line.key is not None and line.value is None)):
            yield Problem(f"{path}, line {line.original.line}", f"cannot be read: write {prefix}NAME=value")
        elif ours and line.value and (why := _loss(line.value, line.original.string, names)):
            yield Problem(f"{path}, line {line.original.line}", why)


def _loss(value: str, written: str, names: Collection[str | None]) -> str | None:
    """What of a value would be another than it is written."""
    if unset := [name for name in _REFERENCE.findall(value) if name not in names]:
        return f"stands for what ${{{unset[0]}}} is, which is not set: set it, or write the value itself"
    if "\\" in written and any(letter < " " for letter in value):
        return "has a backslash in quotation marks, which becomes a line break or a tab: leave the marks out"
    return None


def unread_lines(lines: Iterable[Binding], prefix: str) -> Iterator[str]:
    """Say which lines of `.env` cannot be read, where they are not about names with this prefix."""
    for line in lines:
        if line.error and prefix.rstrip("_") not in line.original.string.upper():
            yield f"line {line.original.line} of .env cannot be read and has no effect: write NAME=value"
