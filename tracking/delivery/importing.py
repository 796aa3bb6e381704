"""Reads subscriptions from the TOML file of TRACKING_HOOKS; those that are missing are added at a start.

The store rules: what exists by its name is left as it is, and so is a name that somebody removed. A secret is given in
the file or, better, in a file of its own; without one it is made, and `rotate` shows one.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tracking.access import Person
from tracking.delivery import subscribing
from tracking.delivery.signing import Secret, SecretCipher, SecretRefused, read_secret
from tracking.delivery.subscribing import REMOVED_MARK, NewHook
from tracking.errors import InvalidSubscription, NotAllowed, Problem
from tracking.settings.addresses import IpNetwork
from tracking.storage.database import Database
from tracking.storage.integration import subscriptions

TABLE = "hooks"
_TEXTS = ("name", "url", "po_prefix", "order_type", "source", "secret", "secret_file")
_KEYS = frozenset({*_TEXTS, "event_types"})
MOST_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of a file: the names that were added, and those that were left as they are."""

    added: tuple[str, ...]
    left: tuple[str, ...]


def import_file(
    database: Database,
    file: Path,
    *,
    cipher: SecretCipher,
    allowed: Iterable[IpNetwork],
    by: Person,
    now: datetime,
) -> Imported:
    """Add the file's subscriptions that are missing.

    Raises:
        NotPermitted: the person may not.
        InvalidSubscription: the file cannot be read, or something in it cannot be used; nothing of it is added then.
        ClaimsUnavailable: there is no key to encrypt secrets with.
    """
    by.must_operate()
    allowed = tuple(allowed)
    entries = _usable(file, allowed)
    with database.read() as connection:
        names = {row["name"] for row in subscriptions.listed(connection)} | set(_removed(connection))
    added, left = [], []
    for hook, secret in entries:
        if hook.name in names:
            left.append(hook.name)
            continue
        try:
            subscribing.add(database, hook, cipher=cipher, allowed=allowed, by=by, now=now, secret=secret)
        except NotAllowed as exc:  # another process was quicker, or there are too many
            with database.read() as connection:
                if hook.name not in {row["name"] for row in subscriptions.listed(connection)}:
                    raise _invalid(hook.name, str(exc)) from exc
            left.append(hook.name)
            continue
        added.append(hook.name)
    return Imported(tuple(added), tuple(left))


def check_file(file: Path, allowed: Iterable[IpNetwork]) -> int:
    """Check that all of the file can be used, without adding any; returns how many it names.

    Raises InvalidSubscription with what is wrong in the first one that cannot be used.
    """
    return len(_usable(file, tuple(allowed)))


def _usable(file: Path, allowed: Sequence[IpNetwork]) -> list[tuple[NewHook, Secret | None]]:
    entries = list(_entries(file))
    for hook, _ in entries:
        if problems := subscribing.problems_of(hook, allowed):
            raise InvalidSubscription([Problem(f"{hook.name}: {each.where}", each.message) for each in problems])
    return entries


def _removed(connection: Any) -> Iterator[str]:
    for name in subscriptions.removed_names(connection):
        yield name.partition(REMOVED_MARK)[0]


def _entries(file: Path) -> Iterator[tuple[NewHook, Secret | None]]:
    for number, table in enumerate(_tables(file), 1):
        where = f"{file.name}, entry {number}"
        if not isinstance(table, Mapping) or (strange := sorted({*table} - _KEYS)):
            named = f"; {strange[0][:40]!r} is none of these" if isinstance(table, Mapping) else ""
            raise _invalid(where, f"may hold {', '.join(sorted(_KEYS))}, and nothing else{named}")
        texts = {name: table.get(name) for name in _TEXTS}
        types = table.get("event_types", [])
        if not all(isinstance(text, str | None) for text in texts.values()) or not texts["name"] or not texts["url"]:
            raise _invalid(where, "needs a name and a url; all but event_types are texts")
        if not isinstance(types, list) or not all(isinstance(each, str) for each in types):
            raise _invalid(where, "event_types must be a list of texts")
        filters = {name: texts[name] for name in ("po_prefix", "order_type", "source")}
        yield (
            NewHook(str(texts["name"]).strip(), str(texts["url"]), tuple(types), **filters),
            _secret(texts, file, where),
        )


def _tables(file: Path) -> list[Any]:
    try:
        content = file.read_bytes()[:MOST_BYTES]
        document = tomllib.loads(content.decode("utf-8-sig"))
    except OSError as exc:
        raise _invalid(str(file), f"cannot be read ({exc.strerror})") from exc
    except ValueError as exc:  # its message may repeat a line of the file
        raise _invalid(str(file), "is no TOML in UTF-8") from exc
    tables = document.pop(TABLE, [])
    if not isinstance(tables, list) or document:
        raise _invalid(str(file), f"must hold its subscriptions as [[{TABLE}]], and nothing else")
    return tables


def _secret(texts: Mapping[str, Any], file: Path, where: str) -> Secret | None:
    text = texts["secret"]
    if text and texts["secret_file"]:
        raise _invalid(where, "has a secret and a secret_file: leave out one of the two")
    if texts["secret_file"]:
        place = file.parent / texts["secret_file"]
        try:
            text = place.read_text("utf-8-sig")
        except (OSError, ValueError) as exc:
            raise _invalid(where, f"its secret_file {place} cannot be read") from exc
        if not text.strip():
            raise _invalid(where, f"its secret_file {place} is empty")
    try:
        return read_secret(text) if text else None
    except SecretRefused as exc:
        raise _invalid(where, f"its secret {exc}") from exc


def _invalid(where: str, message: str) -> InvalidSubscription:
    return InvalidSubscription([Problem(where, message)])
