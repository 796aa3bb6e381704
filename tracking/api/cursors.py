"""Cursors: where a page of the API ended, as an opaque text that also says which list it belongs to."""

import base64
import binascii
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from tracking.api.problems import Refusal, invalid
from tracking.errors import Problem
from tracking.provider.json_fields import storable

LONGEST = 2000
LARGEST = 2**63 - 1


def encode(of: str, values: Sequence[Any]) -> str:
    """Make the cursor of a list from its place: whole numbers, texts, times or None."""
    plain = [["t", value.isoformat()] if isinstance(value, datetime) else value for value in values]
    return base64.urlsafe_b64encode(json.dumps([of, *plain], separators=(",", ":")).encode()).decode().rstrip("=")


def decode(text: str, of: str, kinds: Sequence[type]) -> list[Any]:
    """The place that a cursor of this list says, each value of its kind or None. Raises Refusal for any other text."""
    if len(text) > LONGEST:
        raise refused()
    try:
        raw = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
        name, *plain = raw
        values = [datetime.fromisoformat(value[1]) if isinstance(value, list) else value for value in plain]
    except (ValueError, binascii.Error, TypeError, IndexError, RecursionError) as exc:
        raise refused() from exc
    if name != of or len(values) != len(kinds) or not all(map(_is_of_kind, values, kinds)):
        raise refused()
    return values


def _is_of_kind(value: Any, kind: type) -> bool:
    match value:
        case None:
            return True
        case bool():
            return False
        case int():
            return kind is int and abs(value) <= LARGEST
        case str():
            return kind is str and storable(value) == value
        case datetime():
            return kind is datetime and value.tzinfo is not None
        case _:
            return False


def refused() -> Refusal:
    """The refusal of a cursor that is none, or that of another list."""
    message = "is no cursor of this list: give one as it came, with the same filter, or none to begin anew"
    return invalid([Problem("cursor", message)])
