"""Driver of SQLite: pysqlite3 or the standard library's, chosen here alone; all others take `dbapi` from here.

pysqlite3 brings a SQLite of its own. Two copies of SQLite in one process must never open one file: the locks on it
belong to the process, so that each copy would take the other's for none and drop them when it closes the file.
"""

import sqlite3
from importlib import metadata
from types import ModuleType
from typing import TYPE_CHECKING

Version = tuple[int, int, int]


def wal_is_safe(version: Version) -> bool:
    """Tell whether this SQLite is free of the race at the WAL's reset that can lose committed rows.

    Affected are 3.7.0 to 3.51.2 but for the fixed 3.50.7 and 3.44.6 and their successors; 3.52.0 was withdrawn.
    """
    fixed = (3, 44, 6) <= version < (3, 45) or (3, 50, 7) <= version < (3, 51) or version >= (3, 51, 3)
    return fixed and version != (3, 52, 0)


def better(standard: ModuleType, other: ModuleType | None) -> ModuleType:
    """Choose between two drivers: the one whose WAL is safe, else the newer SQLite, else the standard library's."""
    return max(filter(None, (standard, other)), key=lambda each: (wal_is_safe(_version(each)), _version(each)))


def _version(driver: ModuleType) -> Version:
    major, minor, patch = driver.sqlite_version_info[:3]
    return major, minor, patch


def _pysqlite3() -> ModuleType | None:
    try:
        from pysqlite3 import dbapi2  # noqa: PLC0415 - no machine is sure to have it
    except ImportError:  # also where its library cannot be loaded
        return None
    module: ModuleType = dbapi2
    return module


if TYPE_CHECKING:  # both have the same classes and functions, and of these the types are declared
    dbapi = sqlite3
else:
    dbapi = better(sqlite3, _pysqlite3())

# To look for what adapts None, where nothing does, takes the driver ten times as long as to bind it.
dbapi.register_adapter(type(None), lambda nothing: nothing)

NAME: str = dbapi.__name__.partition(".")[0]
SQLITE_VERSION = _version(dbapi)


def description() -> str:
    """Say which SQLite is used, and who brings it, as in "SQLite 3.53.4 (pysqlite3 0.6.1)"."""
    brought = f"pysqlite3 {metadata.version('pysqlite3')}" if NAME == "pysqlite3" else "Python's own"
    return f"SQLite {dbapi.sqlite_version} ({brought})"
