"""Renders orders as the API serves them: statuses at the time, costs, and claim data where it is due.

Owns the JSON of an order and of its claim data, which is derived from the sandbox's key and never stored.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tracking.sandbox.database import SandboxLine, SandboxOrder
from tracking.sandbox.faults import Echo, Faults
from tracking.sandbox.order_lifecycle import line_status, order_status
from tracking.sandbox.responses import format_timestamp

_NOTHING = {"ExternalId": None, "ClaimData": None, "Cost": None}
_WITH_CLAIMS = frozenset((kind, status) for kind in ("Links", "Codes") for status in ("Completed", "Claimed"))


@dataclass(frozen=True)
class ViewContext:
    """What a rendered order depends on: the time, the faults, the key of the claim data and its edition."""

    now: float
    faults: Faults
    key: bytes
    edition: int = 0
    claims: bool = True


def order_json(order: SandboxOrder, lines: Sequence[SandboxLine], context: ViewContext) -> dict[str, Any]:
    """Render the whole order."""
    body = {
        "Id": order.id,
        "Timestamp": format_timestamp(order.created_at, context.faults),
        "Status": order_status(order.steps, context.now),
        "Type": order.kind,
        "PONumber": order.po_number,
        **order.header,
        "LineItems": [_line_json(order, line, context) for line in lines],
    }
    return body if context.faults.echo == "exact" else _echoed(body, context.faults.echo)


def _echoed(body: dict[str, Any], echo: Echo) -> dict[str, Any]:
    """The order with what was sent echoed otherwise; nothing that the contract promises is lost."""
    lines = body["LineItems"]
    match echo:
        case "no-external-ids":
            lines = [line | {"ExternalId": None} for line in lines]
        case "respelled":
            note = body.get("Note")
            body = body | ({"Note": f"{note.upper()}\u00a0"} if note else {})
            lines = [line | _respelled(line) for line in lines]
        case "regrouped":
            lines = _regrouped(lines)
    return body | {"LineItems": lines}


def _respelled(line: Mapping[str, Any]) -> dict[str, Any]:
    external_id = line.get("ExternalId")
    value = {
        "ProductId": line["ProductId"].lower(),
        "Value": f"{line['Value']:.2f}",
        "Quantity": float(line["Quantity"]),
    }
    return value | ({"ExternalId": external_id.upper()} if external_id else {})


def _regrouped(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lines of one product, value, status and address as one, without what was theirs alone."""
    groups: dict[str, dict[str, Any]] = {}
    for line in lines:
        names = ("ProductId", "Value", "Status", "DigitalDeliveryAddress", "PhysicalDeliveryAddress")
        group = groups.setdefault(json.dumps([line.get(name) for name in names]), line | {"Quantity": 0, **_NOTHING})
        group["Quantity"] += line["Quantity"]
        group["Cost"] = None if line["Cost"] is None else (group["Cost"] or 0) + line["Cost"]
        group["ClaimData"] = [*(group["ClaimData"] or ()), *(line["ClaimData"] or ())] or None
    return list(groups.values())


def _line_json(order: SandboxOrder, line: SandboxLine, context: ViewContext) -> dict[str, Any]:
    status = line_status(order.kind, line.lifecycle, order.steps, context.now)
    with_claims = context.claims and (order.kind, status) in _WITH_CLAIMS
    finished = order_status(order.steps, context.now) == "Completed"
    unknown = context.faults.unknown_line_status and order.number % 3 == 0 and finished
    return {
        "Id": line.id,
        "Status": "Delivered" if unknown else status,
        **line.item,
        "Cost": None if context.faults.cost_null else line.cost_cents / 100,
        "ClaimData": _claim_data(order, line, context) if with_claims else None,
    }


def _claim_data(order: SandboxOrder, line: SandboxLine, context: ViewContext) -> list[dict[str, Any]] | None:
    count = line.quantity
    if order.claim_data != "full" and order.claims_at is not None and context.now < order.claims_at:
        if order.claim_data == "late":
            return None
        count -= 1
    edition = context.edition if order.rotates else 0
    return [
        _claim_json(order, line, unit, _secret(context.key, f"{line.id}/{unit}/{edition}")) for unit in range(count)
    ]


def _secret(key: bytes, message: str) -> str:
    return hashlib.blake2b(message.encode(), key=key, digest_size=20).hexdigest()


def _claim_json(order: SandboxOrder, line: SandboxLine, unit: int, secret: str) -> dict[str, Any]:
    claim_id = f"CD-{line.order_number}-{line.position + 1}-{unit + 1}"
    if order.kind == "Links":
        return {
            "Id": claim_id,
            "ClaimLink": f"https://claim.example.com/v/{secret[:32]}?lineItemId={line.id}",
            "ClaimLinkChallengeAnswer": secret[32:38].upper(),
        }
    digits = str(int(secret, 16))
    return {
        "Id": claim_id,
        "BarcodePath": f"https://claim.example.com/barcode/{secret[:32]}.png",
        "BarcodeChars": digits[:16],
        "BarcodeType": "Code128",
        "Codes": [{"Label": "Card number", "Value": digits[:16]}, {"Label": "PIN", "Value": digits[16:20]}],
    }


def truth_json(order: SandboxOrder, lines: Sequence[SandboxLine], posts: int, now: float) -> dict[str, Any]:
    """Render the true state of an order, for whoever checks a client against it."""
    completed_at = order.completed_at if order.completed_at is not None and order.completed_at <= now else None
    return {
        "id": order.id,
        "po_number": order.po_number,
        "status": order_status(order.steps, now),
        "type": order.kind,
        "units": order.units,
        "created_at": _iso_utc(order.created_at),
        "completed_at": None if completed_at is None else _iso_utc(completed_at),
        "source": order.source,
        "posts": posts,
        "lines": [
            {"id": line.id, "status": line_status(order.kind, line.lifecycle, order.steps, now)} for line in lines
        ],
    }


def _iso_utc(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()
