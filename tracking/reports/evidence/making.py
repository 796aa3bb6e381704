"""Makes the evidence file of an order from the store: one consistent, bounded read, then packed.

Events are in it as they were hashed; recorded API calls as they are stored, masked. Claim data is never in it. With
`masked` neither is a recipient in full, beyond what people wrote into notes, which the log vouches for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, select
from sqlalchemy.engine import RowMapping

from tracking.errors import NotAllowed
from tracking.orders.event_chain import hashed_time
from tracking.orders.model import Witness
from tracking.provider.masking import NEVER_STORED, mask_json, mask_recipient
from tracking.reports.evidence import layout
from tracking.reports.evidence.account import LINE_FIELDS, events_text, in_utc, read_account
from tracking.reports.evidence.first_page import first_page
from tracking.reports.evidence.verification import file_entry, version
from tracking.reports.order_page.lines import currency_of_lines
from tracking.reports.order_page.rows import order_row, removal_text
from tracking.storage.database import Database
from tracking.storage.retention.checkpoints import checkpoint_of, facts_by_then
from tracking.storage.tables import CALLBACKS, EVENTS, EXCHANGES, LINES

CALLS_AT_MOST = 500
WEBHOOKS_AT_MOST = 1000
DOCUMENT_LENGTH = 1_000_000
_EVENT_BYTES = 20 * 2**20
_CALL_FIELDS = ("id", "at", "method", "path", "status", "milliseconds", "outcome", "request", "answer")
_WEBHOOK_FIELDS = (
    "id", "received_at", "last_at", "outcome", "reason", "repeats", "action", "po_number", "provider_id", "stated_at",
    "method", "size", "source",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class EvidenceFile:
    """An evidence file as bytes, and what is said of it elsewhere; `faults` say where the order's log does not hold."""

    po_number: str
    order_id: int
    content: bytes
    events: int
    head: str | None
    masked: bool
    faults: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """The SHA-256 of the file in hex."""
        return layout.sha256(self.content)


def make_evidence(
    database: Database,
    order_id: int,
    *,
    made_by: str,
    signed_in: bool,
    now: datetime,
    masked: bool,
    log_head: str | None = None,
) -> EvidenceFile:
    """Make the order's evidence file. `team.evidence` checks whether the person may.

    Raises:
        UnknownOrder: no order has this id.
        NotAllowed: its log is too large for an evidence file.
    """
    with database.snapshot() as connection:
        order = order_row(connection, order_id)
        rows = _events(connection, order)
        checkpoint = checkpoint_of(connection, order_id) if order["events_removed"] else None
        files, left_out = _files(connection, order, rows, masked=masked)
    manifest: dict[str, Any] = {
        "format": layout.FORMAT,
        "version": layout.VERSION,
        "made_with": version(),
        "made_at": hashed_time(now),
        "made_by": made_by,
        "signed_in": signed_in,
        "masked": masked,
        "left_out": left_out,
        "log_head": log_head,
        "order": {
            "po_number": order["po_number"],
            "events": order["event_count"],
            "head": order["head"],
            "newest_event_id": rows[-1]["id"] if rows else checkpoint["last_event"] if checkpoint else 0,
        },
    }
    if checkpoint is not None:
        manifest["order"]["removed"] = _removed(checkpoint, order, rows)
    account = read_account(manifest, files[layout.EVENTS], files[layout.LINES])
    files[layout.PAGE] = first_page(manifest, account, files)
    manifest["files"] = {name: file_entry(content) for name, content in files.items()}
    files[layout.MANIFEST] = layout.manifest_text(manifest)
    content = layout.pack(files)
    if len(content) > layout.MAX_BYTES:
        raise NotAllowed(f"what is stored of {order['po_number']} is too large for an evidence file")
    counts = order["event_count"], order["head"], masked, tuple(account.faults)
    return EvidenceFile(order["po_number"], order_id, content, *counts)


def _events(connection: Connection, order: RowMapping) -> list[RowMapping]:
    """The order's events, the oldest first. Raises NotAllowed for more than can be packed."""
    own = EVENTS.c.order_id == order["id"], EVENTS.c.seq > order["events_removed"]
    query = select(EVENTS).where(*own).order_by(EVENTS.c.seq)
    rows, size = [], 0
    with connection.execute(query, execution_options={"yield_per": 1000}) as result:
        for row in result.mappings():
            size += 300 + 40 * len(row["line_changes"])
            if size > _EVENT_BYTES:
                raise NotAllowed(f"the log of {order['po_number']} is too large for an evidence file")
            rows.append(row)
    return rows


def _removed(checkpoint: RowMapping, order: RowMapping, rows: Sequence[Mapping[Any, Any]]) -> dict[str, Any]:
    """What the manifest says of events that left: the log in the file begins after them."""
    with in_utc():
        text = removal_text(checkpoint)
    facts = facts_by_then(checkpoint, order)
    last_hash = rows[0]["previous"] if rows else order["head"]
    return {"events": checkpoint["seq"], "last_hash": last_hash, "text": text, "facts": facts}


def _files(
    connection: Connection, order: RowMapping, rows: Iterable[Mapping[Any, Any]], *, masked: bool
) -> tuple[dict[str, bytes], dict[str, int]]:
    """The files but for manifest and first page, and how many older records are left out of which."""
    calls, more_calls = _calls(connection, order["id"])
    webhooks, more_webhooks = _webhooks(connection, order["id"])
    files = {
        layout.EVENTS: events_text(order["po_number"], rows),
        layout.LINES: layout.jsonl(_lines(connection, order, masked=masked)),
        layout.CALLS: layout.jsonl(calls),
        layout.WEBHOOKS: layout.jsonl(webhooks),
        layout.DOCUMENT: layout.jsonl([_document(order["document"], masked=masked)]),
    }
    return files, {layout.CALLS: more_calls, layout.WEBHOOKS: more_webhooks}


def _lines(connection: Connection, order: RowMapping, *, masked: bool) -> Iterable[dict[str, Any]]:
    """The lines as they are now. With the salt of a line its recipient can be proven, so it goes where they go."""
    currency_of = currency_of_lines(connection, order)
    lines = connection.execute(select(LINES).where(LINES.c.order_id == order["id"]).order_by(LINES.c.number))
    for line in lines.mappings():
        record = {name: line[name] for name in LINE_FIELDS} | {"currency": currency_of(line["product_id"]) or None}
        recipient = line["recipient"]
        if masked:
            yield record | {"recipient": recipient and mask_recipient(recipient)}
        else:
            yield record | {"recipient": recipient, "recipient_salt": line["recipient_salt"]}


def _calls(connection: Connection, order_id: int) -> tuple[list[dict[str, Any]], int]:
    """The newest recorded calls of the order, oldest first, and how many there are beyond.

    List pages that showed it tell of other orders as well, so that their bodies are not given away with this one.
    """
    own = select(EXCHANGES).where(EXCHANGES.c.order_id == order_id)
    counted = connection.execute(select(sa.func.count()).select_from(own.subquery())).scalar_one()
    newest = connection.execute(own.order_by(EXCHANGES.c.at.desc()).limit(CALLS_AT_MOST)).mappings().all()
    polled = select(EVENTS.c.happened_at).where(EVENTS.c.order_id == order_id, EVENTS.c.witness == Witness.POLL)
    at = polled.order_by(EVENTS.c.seq.desc()).limit(CALLS_AT_MOST)
    listed = EXCHANGES.c.order_id.is_(None), EXCHANGES.c.method == "GET", EXCHANGES.c.path.startswith("/v1/Orders")
    pages = connection.execute(select(EXCHANGES).where(*listed, EXCHANGES.c.at.in_(at)).limit(CALLS_AT_MOST))
    masked_pages = [dict(row) | {"request": None, "answer": None} for row in pages.mappings()]
    calls = sorted([*map(dict, newest), *masked_pages], key=lambda call: (call["at"], call["id"]))
    return [_record(call, _CALL_FIELDS) for call in calls], counted - len(newest)


def _webhooks(connection: Connection, order_id: int) -> tuple[list[dict[str, Any]], int]:
    own = select(CALLBACKS).where(CALLBACKS.c.order_id == order_id)
    counted = connection.execute(select(sa.func.count()).select_from(own.subquery())).scalar_one()
    newest = connection.execute(own.order_by(CALLBACKS.c.id.desc()).limit(WEBHOOKS_AT_MOST)).mappings().all()
    return [_record(row, _WEBHOOK_FIELDS) for row in reversed(newest)], counted - len(newest)


def _record(row: Mapping[Any, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: hashed_time(row[name]) if isinstance(row[name], datetime) else row[name] for name in names}


def _document(document: Any, *, masked: bool) -> Any:
    """The provider's latest answer, without claim data; masked, lists in it are cut to their first entries."""
    if not masked:
        return _without_claims(document)
    text = mask_json(document, DOCUMENT_LENGTH)
    return json.loads(text) if len(text) < DOCUMENT_LENGTH else "too large to be masked"


def _without_claims(value: Any) -> Any:
    """Drop fields of claim data: they are never stored, and should one be, it is not given away."""
    if isinstance(value, Mapping):
        return {name: _without_claims(each) for name, each in value.items() if name.casefold() not in NEVER_STORED}
    return [_without_claims(each) for each in value] if isinstance(value, list) else value
