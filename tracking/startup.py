"""Start: quicker imports (garbage collector paused, pandas at its first use), a look at `.env`, names and addresses."""

import codecs
import contextlib
import difflib
import gc
import importlib
import io
import ipaddress
import logging
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from dotenv.parser import Binding, parse_stream

from tracking.errors import Problem, SettingsError

__all__ = [
    "dropped_lines",
    "garbage_collection_paused",
    "has_usable_port",
    "is_local_address",
    "misspelt_names",
    "names_without_effect",
    "pd",
    "read_env_file",
    "unread_lines",
]

# What Kubernetes and Docker put into the environment of each container beside a service that is called like us.
_SERVICE_LINK = re.compile(
    r"\w+_(SERVICE_HOST|SERVICE_PORT\w*|PORT_\d+_(TCP|UDP|SCTP)\w*)=.*|\w+_PORT=(tcp|udp|sctp)://.*"
)
# Read by other libraries, and from the environment alone.
_NOT_OURS = frozenset({"HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"})

# Lines that cannot be read are said in words of ours, with what to do.
logging.getLogger("dotenv.main").setLevel(logging.ERROR)

if TYPE_CHECKING:
    import pandas as pd
else:

    class _LazyPandas:
        """Imports pandas at its first use: that takes half of a worker's start, and a worker makes no tables."""

        def __getattr__(self, name: str) -> Any:
            return getattr(importlib.import_module("pandas"), name)

    # Not importlib.util.LazyLoader: before Python 3.12 it fails where two threads come first together.
    pd = _LazyPandas()


@contextlib.contextmanager
def garbage_collection_paused() -> Iterator[None]:
    """Pause the garbage collector while the console is imported: that is a sixth of its start.

    Nothing that is imported is ever garbage, so the collector looks at none of it afterwards either.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collects:
            gc.enable()


def read_env_file(path: Path) -> list[Binding]:
    """Parse the file's lines, none where there is no file. Raises SettingsError where it cannot be read."""
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
    """List the lines about names with this prefix that would be dropped without a word."""
    for line in lines:
        text = line.original.string.strip().upper()
        ours = prefix.rstrip("_") in text and not text.startswith("#")
        if ours and (line.error or (line.key is not None and line.value is None)):
            yield Problem(f"{path}, line {line.original.line}", f"cannot be read: write {prefix}NAME=value")


def unread_lines(lines: Iterable[Binding], prefix: str) -> Iterator[str]:
    """Say which lines of `.env` cannot be read, where they are not about names with this prefix."""
    for line in lines:
        if line.error and prefix.rstrip("_") not in line.original.string.upper():
            yield f"line {line.original.line} of .env cannot be read and has no effect: write NAME=value"


def misspelt_names(names: Collection[str], prefix: str, fields: Collection[str]) -> Iterator[Problem]:
    """List the names that are nearly the prefix and a field. Those far from any may belong to another program."""
    for name in _unknown_names(names, prefix, fields):
        if near := _near(name[len(prefix) :].lower(), fields):
            yield Problem(name, f"is no setting; did you mean {prefix}{near[0].upper()}?")
    word = prefix.strip("_").lower()
    for name in sorted(names):
        first, _, field = name.lower().partition("_")
        if field in fields and first != word and difflib.get_close_matches(first, [word], cutoff=0.7):
            yield Problem(name, f"is no setting; did you mean {prefix}{field.upper()}?")


def _near(name: str, fields: Collection[str]) -> list[str]:
    """The field that is spelt nearly so, else those that have all of several words of it."""
    words = set(name.split("_"))
    with_its_words = [field for field in fields if len(words) > 1 and words <= set(field.split("_"))]
    return difflib.get_close_matches(name, fields, 1, cutoff=0.8) or with_its_words


def names_without_effect(
    names: Collection[str], lines: Iterable[Binding], prefix: str, fields: Collection[str]
) -> Iterator[str]:
    """Say which names are not read, and which lines of `.env` not obeyed, where that may be meant so."""
    for name in _unknown_names(names, prefix, fields):
        yield f"{name} is no setting of this console and has no effect"
    for name, times in Counter((line.key or "").upper() for line in lines).items():
        if times > 1 and name.startswith(prefix):
            yield f"{name} is set {times} times in .env: the last one counts"
        if name in _NOT_OURS:
            yield f"{name} has no effect in .env: set it in the environment"


def _unknown_names(names: Iterable[str], prefix: str, fields: Collection[str]) -> list[str]:
    """List the names with the prefix that are no field; to set one to nothing is a way to say that it is not ours."""
    ours = (name for name in names if name.upper().startswith(prefix) and os.environ.get(name, "-").strip())
    unknown = (name for name in ours if name[len(prefix) :].lower() not in fields)
    return sorted(name for name in unknown if not _SERVICE_LINK.fullmatch(f"{name}={os.environ.get(name, '')}"))


def has_usable_port(address: str) -> bool:
    """Whether there is no port in the address, or one that can be."""
    try:
        return urlsplit(address.strip()).port != 0
    except ValueError:
        return False


def is_local_address(address: str) -> bool:
    """Whether the address is on this machine."""
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
