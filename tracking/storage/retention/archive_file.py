"""Archive files: one Parquet file for the orders that ended in a month, flat and readable without this package.

Each row is one `record`: an order, or one of its events, lines, calls or webhooks; an order's rows follow one another.
Times are timestamps in UTC, money is whole minor units beside the currency, JSON is text as it was hashed. Neither
recipients nor claim data nor bodies of calls are in it: what an erasure could not reach is not written. Of a recipient
there is the keyed hash, which vouches for the lines and tells nothing without its salt.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from tracking.errors import StoreUnusable
from tracking.orders import event_chain as chain
from tracking.orders import model
from tracking.orders.event_chain import Entry
from tracking.storage.retention.checkpoints import facts_of
from tracking.storage.retention.order_audit import StoredLog
from tracking.storage.retention.removal import ArchivedLog
from tracking.storage.tables import CALLBACKS, EXCHANGES

VERSION = "1"
ROWS_READ = 5_000
_ENDINGS = ("_at", "_after", "_by", "_until")
_ORDER_TIMES = {name for name in model.ORDER_FIELDS if name.endswith(_ENDINGS)} - {"acknowledged_by"}
_NUMBERS = frozenset({"units", "units_fulfilled", "value_minor", "cost_minor"})
LINE = (*chain.CONTENT_FIELDS, "status", "claims", "cost_minor", "provider_line_id")
CALL = ("method", "path", "milliseconds", "outcome")
WEBHOOK = ("outcome", "reason", "repeats", "action", "provider_id", "method", "size")
_TIMED = ("at", "received_at", "last_at", "stated_at", "happened_at", "learned_at")
_WHOLE = (
    "seq",
    "event_id",
    "first_seq",
    "events",
    "number",
    "quantity",
    "claims",
    "http_status",
    "milliseconds",
    "repeats",
    "size",
)
_TEXTS = (
    "kind",
    "witness",
    "changes",
    "line_changes",
    "detail",
    "previous",
    "hash",
    "head",
    "product_id",
    "external_id",
    "recipient_hash",
    "status",
    "provider_line_id",
    "method",
    "path",
    "outcome",
    "reason",
    "action",
)
"""The columns beside those of an order, by their type."""


def schema() -> Any:
    """The columns of a file."""
    import pyarrow as pa  # noqa: PLC0415 - it takes a tenth of a second, and only archives and exports need it

    at = pa.timestamp("us", tz="UTC")
    columns: dict[str, Any] = {"record": pa.string(), "order_id": pa.int64()}
    for name in model.ORDER_FIELDS:
        columns[name] = at if name in _ORDER_TIMES else pa.int64() if name in _NUMBERS else pa.string()
    for names, kind in ((_TIMED, at), (_WHOLE, pa.int64()), (_TEXTS, pa.string())):
        columns |= dict.fromkeys(names, kind)
    return pa.schema(list(columns.items()), metadata={"archive": VERSION})


def rows_of(connection: Connection, log: StoredLog) -> Iterator[dict[str, Any]]:
    """Make the rows of one order; reads its calls and webhooks."""
    row = log.row
    about = {"order_id": row["id"], "po_number": row["po_number"]}
    facts = {name: row[name] for name in model.ORDER_FIELDS}
    span = {"first_seq": row["events_removed"] + 1, "events": row["event_count"], "head": row["head"]}
    yield {"record": "order", **about, **facts, **span}
    for event_id, entry in log.events:
        yield {"record": "event", **about, "event_id": event_id, **_event(entry, row["po_number"])}
    for line in log.lines:
        yield {"record": "line", **about, **{name: getattr(line, name, None) for name in LINE}}
    calls = select(EXCHANGES).where(EXCHANGES.c.order_id == row["id"]).order_by(EXCHANGES.c.id)
    for call in connection.execute(calls).mappings():
        named = {name: call[name] for name in CALL}
        yield {"record": "call", **about, "at": call["at"], "http_status": call["status"], **named}
    webhooks = select(CALLBACKS).where(CALLBACKS.c.order_id == row["id"]).order_by(CALLBACKS.c.id)
    for webhook in connection.execute(webhooks).mappings():
        times = {name: webhook[name] for name in ("received_at", "last_at", "stated_at")}
        yield {"record": "webhook", **about, **times, **{name: webhook[name] for name in WEBHOOK}}


def _event(entry: Entry, po_number: str) -> dict[str, Any]:
    texts: dict[str, Any] = {
        name: chain.canonical(json.loads(getattr(entry, name))) for name in ("changes", "line_changes", "detail")
    }
    hashed = entry._replace(**texts)
    times = {
        name: datetime.fromisoformat(getattr(entry, name)).replace(tzinfo=UTC) for name in ("happened_at", "learned_at")
    }
    return hashed._asdict() | times | {"hash": hashed.event_hash(po_number)}


class ArchiveWriter:
    """Writes a file under a temporary name; `finish` brings it to the disk."""

    def __init__(self, path: Path) -> None:
        from pyarrow import parquet  # noqa: PLC0415 - as above

        self._path, self._schema = path, schema()
        path.touch(mode=0o600)
        self._writer = parquet.ParquetWriter(path, self._schema, compression="zstd")

    def write(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add the rows of some orders."""
        import pyarrow as pa  # noqa: PLC0415 - as above

        self._writer.write_table(pa.Table.from_pylist(list(rows), schema=self._schema))

    def finish(self) -> None:
        """End the file and flush it to the disk. Raises OSError."""
        self._writer.close()
        descriptor = os.open(self._path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def discard(self) -> None:
        """Give the file up."""
        with contextlib.suppress(OSError):
            self._writer.close()
        self._path.unlink(missing_ok=True)


@dataclass(slots=True)
class ArchiveContent:
    """What a file holds: the logs, their orders' facts and PONumbers, and `faults` where it does not hold.

    `before` is, of orders some of whose events left earlier, how many did and the hash of the last of them.
    """

    logs: list[ArchivedLog] = field(default_factory=list)
    facts: dict[int, dict[str, Any]] = field(default_factory=dict)
    before: dict[int, tuple[int, str | None]] = field(default_factory=dict)
    po_numbers: dict[int, str] = field(default_factory=dict)
    events: int = 0
    faults: list[str] = field(default_factory=list)


def digest_of_file(path: Path) -> str:
    """The SHA-256 of the file. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_archive(path: Path) -> ArchiveContent:
    """Read the file and verify each order in it: numbers, chain, lines and facts.

    Raises:
        StoreUnusable: it cannot be read, or is none.
    """
    import pyarrow as pa  # noqa: PLC0415 - as above

    content = ArchiveContent()
    try:
        for order_id, rows in groupby(_rows(path), itemgetter("order_id")):
            records = list(rows)
            try:
                _read_order(content, order_id, records)
            except (AttributeError, IndexError, KeyError, TypeError, ValueError) as exc:
                content.faults.append(f"{path.name}: order {order_id} cannot be read ({type(exc).__name__})")
    except (OSError, pa.ArrowException, KeyError) as exc:
        raise StoreUnusable(f"{path} cannot be read as an archive ({type(exc).__name__})") from exc
    return content


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    from pyarrow import parquet  # noqa: PLC0415 - as above

    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=ROWS_READ):
            yield from batch.to_pylist()


def _read_order(content: ArchiveContent, order_id: int, records: list[dict[str, Any]]) -> None:
    order = records[0]
    name, first, count, head = order["po_number"], order["first_seq"], order["events"], order["head"]
    entries = [chain_entry(row) for row in records if row["record"] == "event"]
    lines = [[row[each] for each in chain.CONTENT_FIELDS] for row in records if row["record"] == "line"]
    fault = chain.numbering_fault([entry.seq for entry in entries], count, first - 1)
    if fault is None:
        digests = [entry.event_hash(name) for entry in entries]
        before = None if first == 1 else entries[0].previous
        fault = chain.broken_link(name, head, entries, digests, before)
    facts = facts_of(order)
    if fault is None and first == 1:
        detail = json.loads(entries[0].detail)
        if "contents" in detail and chain.contents_hash(lines) != detail["contents"]:
            fault = "its lines are not those that were ordered"
        elif _folded(entries) != facts:
            fault = "its facts are not those that its events say"
    if fault is not None:
        content.faults.append(f"{name}: {fault}")
    content.logs.append(ArchivedLog(order_id, count, head))
    if first > 1 and entries:
        content.before[order_id] = first - 1, entries[0].previous
    content.facts[order_id], content.po_numbers[order_id] = facts, name
    content.events += len(entries)


def chain_entry(row: Mapping[str, Any]) -> Entry:
    """The entry that a row of a file holds."""
    times = (chain.hashed_time(row[name]) for name in ("happened_at", "learned_at"))
    texts = (row[name] for name in ("changes", "line_changes", "detail"))
    return Entry._make((row["seq"], row["kind"], row["witness"], *times, *texts, row["previous"]))


def _folded(entries: Iterable[Entry]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for entry in entries:
        changes |= model.complete_changes(json.loads(entry.changes))
    moment = datetime.fromtimestamp(0, UTC)
    return facts_of(model.first_order(model.Event("", model.Witness.US, moment, moment, changes)))
