"""Frozen copies of the code that the revisions use, so that later changes of it do not change them."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii as quoted
from typing import Any

from sqlalchemy import DateTime, Dialect
from sqlalchemy.types import TypeDecorator

canonical = json.JSONEncoder(sort_keys=True).encode


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime, stored in UTC; on SQLite without its zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Takes the zone off where the engine has none."""
        if value is None:
            return None
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Gives the zone back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


def first_hash(po_number: str) -> str:
    """What stands for the hash before an order's first event."""
    return hashlib.sha256(f"the log of {po_number}".encode()).hexdigest()


def hashed_time(at: datetime) -> str:
    """The time as it is hashed: 2026-01-31 09:00:00.000000, in UTC."""
    return at.astimezone(UTC).isoformat(" ", "microseconds")[:26]


def event_hash(row: Mapping[str, Any], po_number: str, previous: str) -> str:
    """The hash of an event, in hex, given that of the event before."""
    parts = [
        quoted(po_number),
        str(row["seq"]),
        *(quoted(text) for text in (row["kind"], row["witness"])),
        *(quoted(hashed_time(row[name])) for name in ("happened_at", "learned_at")),
        *(canonical(row[name]) for name in ("changes", "line_changes", "detail")),
        quoted(previous),
    ]
    return hashlib.sha256(f"[{', '.join(parts)}]".encode()).hexdigest()


def keyed_hash(recipient: str, salt: str) -> str:
    """The recipient's hash, keyed with the salt of the line (HMAC-SHA256, hex)."""
    return hmac.digest(salt.encode(), recipient.encode(), "sha256").hex()
