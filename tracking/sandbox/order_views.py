"""Orders as the API shows them: the statuses of the moment, the costs, and the claim data where it is due.

Owns the shape of an order and of its claim data, which is derived from the sandbox's key and never stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tracking.sandbox.database import Line, Order
from tracking.sandbox.faults import Switches
from tracking.sandbox.order_lifecycle import line_status, order_status
from tracking.sandbox.responses import timestamp

_WITH_CLAIMS = frozenset((kind, status) for kind in ("Links", "Codes") for status in ("Completed", "Claimed"))


@dataclass(frozen=True)
class View:
    """What an order looks like when: the time, the switches, the key of the claim data and its edition."""

    now: float
    switches: Switches
    key: bytes
    edition: int = 0
    claims: bool = True


def order_document(order: Order, lines: Sequence[Line], view: View) -> dict[str, Any]:
    """The whole order."""
    return {
        "Id": order.id,
        "Timestamp": timestamp(order.created_at, view.switches),
        "Status": order_status(order.steps, view.now),
        "Type": order.kind,
        "PONumber": order.po_number,
        **order.header,
        "LineItems": [_line_document(order, line, view) for line in lines],
    }


def _line_document(order: Order, line: Line, view: View) -> dict[str, Any]:
    status = line_status(order.kind, line.course, order.steps, view.now)
    return {
        "Id": line.id,
        "Status": status,
        **line.item,
        "Cost": None if view.switches.cost_null else line.cost_cents / 100,
        "ClaimData": _claim_data(order, line, view) if view.claims and (order.kind, status) in _WITH_CLAIMS else None,
    }


def _claim_data(order: Order, line: Line, view: View) -> list[dict[str, Any]] | None:
    count = line.quantity
    if order.claim_data != "full" and order.claims_at is not None and view.now < order.claims_at:
        if order.claim_data == "late":
            return None
        count -= 1
    edition = view.edition if order.rotates else 0
    return [
        _claim(
            order,
            line,
            unit,
            hashlib.blake2b(f"{line.id}/{unit}/{edition}".encode(), key=view.key, digest_size=20).hexdigest(),
        )
        for unit in range(count)
    ]


def _claim(order: Order, line: Line, unit: int, secret: str) -> dict[str, Any]:
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


def truth_document(order: Order, lines: Sequence[Line], posts: int, now: float) -> dict[str, Any]:
    """What really is, for whoever checks a client against it."""
    done = order.completed_at if order.completed_at is not None and order.completed_at <= now else None
    return {
        "id": order.id,
        "po_number": order.po_number,
        "status": order_status(order.steps, now),
        "type": order.kind,
        "units": order.units,
        "created_at": _iso(order.created_at),
        "completed_at": None if done is None else _iso(done),
        "source": order.source,
        "posts": posts,
        "lines": [{"id": line.id, "status": line_status(order.kind, line.course, order.steps, now)} for line in lines],
    }


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()
