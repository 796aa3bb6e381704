"""One API call in full, what it was for, and the same call for a terminal. Bodies are masked as they are stored."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

from sqlalchemy import select

from tracking.storage.database import Database
from tracking.storage.tables import EXCHANGES, ORDERS

_LISTS = {
    "/v1/Products": "Catalog",
    "/v1/ShippingMethods": "Shipping methods",
    "/v1/Carriers": "Carriers",
}
_FIXED = {("POST", "/v1/Orders"): "Place", ("POST", "/v1/Tokens"): "Token", ("GET", "/v1/AccountBalance"): "Balance"}


def purpose_of(method: str, path: str) -> str:
    """Say what a call was for: "Poll one", "List page 2", "Find new, page 1", "Place", "Token", "Catalog page 1"."""
    parts = urlsplit(path)
    if fixed := _FIXED.get((method, parts.path)):
        return fixed
    params = parse_qs(parts.query)
    page = params.get("pageIndex", ["1"])[0][:6]
    if parts.path in _LISTS:
        return f"{_LISTS[parts.path]} page {page}"
    if parts.path == "/v1/Orders":
        if "endDate" in params:
            return f"List page {page}"
        return f"Find new, page {page}" if "startDate" in params else "Find by PO number"
    return "Poll one" if re.fullmatch(r"/v1/Orders/[^/]+", parts.path) else "Other"


def call_details(database: Database, call_id: int) -> Mapping[str, Any] | None:
    """Read the call with this id: the columns of its row and `po_number`; None where it is not stored any more."""
    query = select(EXCHANGES, ORDERS.c.po_number).outerjoin(ORDERS, ORDERS.c.id == EXCHANGES.c.order_id)
    with database.read() as connection:
        row = connection.execute(query.where(EXCHANGES.c.id == call_id)).mappings().one_or_none()
    return None if row is None else {str(name): value for name, value in row.items()}


def curl_of(call: Mapping[str, Any]) -> str:
    """The call for a terminal; address and token are those of the shell's variables BASE_URL and TOKEN."""
    words = [
        "curl",
        "-X",
        call["method"],
        f'"$BASE_URL"{shlex.quote(call["path"])}',
        "-H",
        '"Authorization: Bearer $TOKEN"',
    ]
    if call["request"]:
        words += ["-H", "'Content-Type: application/json'", "-d", shlex.quote(call["request"])]
    return " ".join(words)


def parsed_body(text: str | None) -> Any:
    """The body as JSON; None where it is none, as the stored text may have been cut."""
    try:
        value = json.loads(text or "")
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list) else None


# Outcomes as people read them, and whether a call ended well, was answered by a no, or failed.
_OUTCOMES = {
    "ok": ("OK", "ok"),
    "not found": ("Not found", "declined"),
    "rejected": ("Rejected", "declined"),
    "insufficient funds": ("Insufficient funds", "declined"),
    "duplicate": ("Duplicate", "declined"),
    "throttled": ("Rate limited", "declined"),
    "not sent": ("Not sent", "failed"),
    "unknown": ("No usable answer", "failed"),
    "not the provider": ("Not the provider", "failed"),
    "credentials refused": ("Credentials refused", "failed"),
    "access disabled": ("Access disabled", "failed"),
    "unreadable": ("Unreadable", "failed"),
    "cancelled": ("Interrupted", "failed"),
    "unavailable": ("Unavailable, paused", "failed"),
}
# Both stop the calls for a while: 429 as they were too many, 503 as nothing can be had (RFC 9110). They are stored as
# one outcome, and only the status tells which it was.
THROTTLED, UNAVAILABLE = "throttled", "unavailable"
INTERRUPTED = "cancelled"
_ANSWERED = frozenset({"ok", "not found", "rejected", "insufficient funds", "duplicate"})
OUTCOME_LABELS = dict(_OUTCOMES.values()) | {"Failed": "failed"}


def outcome_label(outcome: str, status: float | None = None) -> str:
    """Word how a call ended, by its status where that tells more; the reason that some outcomes hold is left out."""
    if outcome == THROTTLED and status == HTTPStatus.SERVICE_UNAVAILABLE:
        outcome = UNAVAILABLE
    return _OUTCOMES.get(outcome.partition(":")[0], ("Failed", "failed"))[0]


def outcome_group(outcome: str, status: float | None = None) -> str:
    """Tell whether a call ended well ("ok"), was answered by a no ("declined"), or "failed"."""
    return OUTCOME_LABELS[outcome_label(outcome, status)]


def is_answered(outcome: str) -> bool | None:
    """Whether the provider was there to answer, as the pages judge that; None where we ended the call ourselves."""
    return None if outcome == INTERRUPTED else outcome in _ANSWERED
