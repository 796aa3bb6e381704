"""What people hand in, committed for the sender; and what people do with an order, and what became of it.

`submit` commits the requests in groups; a PONumber that is taken is reported and left alone, so the same call after a
crash goes on where it stopped. Sends nothing itself: the sender does, from what was committed. Every act asks first
whether the person may, whatever they were shown. How files are read is in `uploads`, what is sold in `catalogue`; what
the pages and the command line need of both is reached here.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, insert

from tracking import ingest
from tracking.access import Person
from tracking.errors import InvalidSubmission, NotAllowed, Problem, UnknownOrder
from tracking.orders.claim_data import Unit, Vault
from tracking.orders.model import OrderRequest
from tracking.orders.observations import Unsealed
from tracking.orders.wording import guarded
from tracking.provider import responses as wire
from tracking.provider.json_fields import storable
from tracking.startup import pd
from tracking.storage.claims import claim_lines, claim_versions
from tracking.storage.database import Database
from tracking.storage.orders import ID_BY
from tracking.storage.tables import BATCHES, ORDERS
from tracking.submissions.catalog import Catalogue, Product, check, load_catalogue
from tracking.submissions.csv_rows import COLUMNS, MAX_BYTES
from tracking.submissions.files import (
    MAX_PROBLEMS,
    Checked,
    Taken,
    contents_of,
    read_csv,
    read_json,
    taken_among,
    why_taken,
    within,
)

__all__ = [
    "COLUMNS",
    "MAX_BYTES",
    "Catalogue",
    "Checked",
    "Product",
    "Receipt",
    "Revealed",
    "Standing",
    "acknowledge",
    "add_note",
    "check_now",
    "claim_lines",
    "claim_versions",
    "load_catalogue",
    "new_po_number",
    "outcome_rows",
    "read_csv",
    "read_json",
    "resend",
    "reveal",
    "standing",
    "submit",
]

MAX_TEXT = 500
GROUP_ORDERS = 50
GROUP_LINES = 2000
_ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of one request: queued, exists (left as it is) or rejected (the message says why)."""

    po_number: str
    order_id: int | None
    outcome: str
    message: str = ""


def new_po_number(now: datetime, rng: random.Random) -> str:
    """A PONumber nobody has used: the day and six characters that cannot be mistaken for each other."""
    return f"FT-{now:%Y%m%d}-{''.join(rng.choices(_ALPHABET, k=6))}"


def submit(
    database: Database,
    requests: Checked | Sequence[OrderRequest],
    *,
    source: str,
    by: Person,
    now: datetime,
    progress: Callable[[int, int], None] | None = None,
) -> list[Receipt]:
    """Commits the requests, which queues them for the sender. Calling it again after a crash continues.

    Raises:
        NotPermitted: the person may not; nothing was read or written.
        InvalidSubmission: something is wrong with the requests or the file; nothing was written.
        StoreError: groups committed before stay; call again.
    """
    by.must_operate()
    batch = requests if isinstance(requests, Checked) else None
    wanted = batch.requests if batch else tuple(requests) if not isinstance(requests, Checked) else ()
    _check_again(database, wanted, batch)
    receipts: list[Receipt] = []
    for group in _groups(wanted):
        job = _Placing(group, batch, source, by.name, now)
        receipts += database.write(job)
        if progress is not None:
            progress(len(receipts), len(wanted))
    return receipts


def _check_again(database: Database, wanted: Sequence[OrderRequest], batch: Checked | None) -> None:
    problems = list(batch.problems) if batch else []
    if not wanted and not problems:
        problems.append(Problem("", "nothing to order"))
    catalogue = load_catalogue(database)
    seen: set[str] = set()
    for request in wanted:
        place = request.po_number if len(wanted) > 1 else ""
        try:
            found = check(wire.read_request(dict(request.document)), catalogue)
        except InvalidSubmission as exc:
            found = list(exc.problems)
        if not request.po_number:
            found.append(Problem("PONumber", "is missing: give the order one before it is handed in"))
        elif request.po_number in seen:
            found.append(Problem("PONumber", "is there twice"))
        seen.add(request.po_number)
        problems += [within(place, problem) for problem in found]
    if batch:
        with database.read() as connection:
            taken = taken_among(connection, (request.po_number for request in wanted))
        problems += [
            Problem(request.po_number, why_taken(request, known))
            for request in wanted
            if (known := taken.get(request.po_number)) and known.contents != contents_of(request)
        ]
    if problems:
        raise InvalidSubmission(problems[: MAX_PROBLEMS + 1])


def _groups(requests: Iterable[OrderRequest]) -> Iterator[list[OrderRequest]]:
    """Groups that commit together: few enough orders and lines that the writer is never held up for long."""
    group: list[OrderRequest] = []
    lines = 0
    for request in requests:
        if group and (len(group) >= GROUP_ORDERS or lines + len(request.lines) > GROUP_LINES):
            yield group
            group, lines = [], 0
        group.append(request)
        lines += len(request.lines)
    if group:
        yield group


@dataclass(frozen=True, slots=True)
class _Placing:
    """The job that commits one group."""

    group: Sequence[OrderRequest]
    batch: Checked | None
    source: str
    actor: str
    now: datetime

    def __call__(self, connection: Connection) -> list[Receipt]:
        batch_id = self._batch_id(connection)
        taken = taken_among(connection, (request.po_number for request in self.group))
        return [self._place(connection, request, taken.get(request.po_number), batch_id) for request in self.group]

    def _place(
        self, connection: Connection, request: OrderRequest, known: Taken | None, batch_id: int | None
    ) -> Receipt:
        if known is not None:
            same = known.contents == contents_of(request)
            message = f"already here ({known.state})" if same else why_taken(request, known)
            return Receipt(request.po_number, known.order_id, "exists" if same else "rejected", message)
        try:
            order_id = ingest.place(
                connection, request, source=self.source, actor=self.actor, now=self.now, batch_id=batch_id
            )
        except NotAllowed as exc:
            return Receipt(request.po_number, None, "exists", str(exc))
        return Receipt(request.po_number, order_id, "queued")

    def _batch_id(self, connection: Connection) -> int | None:
        if self.batch is None:
            return None
        query = sa.select(BATCHES.c.id).where(BATCHES.c.digest == self.batch.digest).order_by(BATCHES.c.id)
        known = connection.execute(query).scalar()
        if known is not None:
            return int(known)
        values = {
            "digest": self.batch.digest,
            "name": self.batch.name[:200],
            "rows": self.batch.rows,
            "orders": len(self.batch.requests),
            "created_at": self.now,
            "actor": self.actor,
        }
        return add_batch(connection, values)


def check_now(database: Database, order: str, *, by: Person, now: datetime) -> None:
    """Asks the poller to look at the order next.

    Args:
        database: the store.
        order: its PONumber or the provider's id.
        by: who asks.
        now: when.

    Raises:
        NotPermitted: the person may not.
        UnknownOrder: nothing has this id.
        NotAllowed: its state forbids it; the message says why.
    """
    by.must_operate()
    database.write(
        lambda connection: ingest.ask(connection, _find(connection, order), what="check", actor=by.name, now=now)
    )


def resend(database: Database, order: str, *, by: Person, now: datetime) -> None:
    """Queues an order whose outcome is unknown, or that was refused, under the same PONumber. Raises as `check_now`."""
    by.must_operate()
    database.write(
        lambda connection: ingest.ask(connection, _find(connection, order), what="resend", actor=by.name, now=now)
    )


def acknowledge(database: Database, order: str, *, by: Person, now: datetime, why: str) -> None:
    """Records that a person has dealt with the order, and why. Raises as `check_now`, or InvalidSubmission."""
    _write_down(database, order, why, by=by, now=now, acknowledges=True)


def add_note(database: Database, order: str, *, by: Person, now: datetime, text: str) -> None:
    """Adds what a person wrote to the order's story. Raises as `check_now`, or InvalidSubmission."""
    _write_down(database, order, text, by=by, now=now, acknowledges=False)


@dataclass(frozen=True, slots=True)
class Revealed:
    """One unit's claim data, opened: show it once and keep it nowhere. `version` of `versions`, the oldest is 1."""

    line: int
    unit: int
    version: int
    versions: int
    data: Unit = field(repr=False)


def reveal(
    database: Database,
    vault: Vault,
    order: str,
    line: int,
    unit: int,
    *,
    by: Person,
    now: datetime,
    version: int | None = None,
) -> Revealed:
    """One unit's claim data, once the log says who sees it.

    Args:
        database: the store.
        vault: what opens it.
        order: the order's PONumber or the provider's id.
        line: our number of the line.
        unit: which of its units, from 1.
        by: who sees it.
        now: when.
        version: an earlier version where the provider showed other data later; None for the newest.

    Raises:
        NotPermitted: only operators may.
        UnknownOrder: nothing has this id.
        ClaimsUnavailable: it is not kept or cannot be opened; nothing was written into the log.
    """
    by.must_operate()
    wanted = Unsealed(line, unit, version)
    found, of, po_number = database.write(
        lambda connection: ingest.reveal(
            connection, _find(connection, order), wanted, vault=vault, actor=by.name, now=now
        )
    )
    return Revealed(line, unit, found.number, of, vault.open(found.sealed, po_number, line).units[unit - 1])


def _write_down(database: Database, order: str, text: str, *, by: Person, now: datetime, acknowledges: bool) -> None:
    by.must_operate()
    written = _persons_text(text)
    database.write(
        lambda connection: ingest.note(
            connection, _find(connection, order), text=written, actor=by.name, now=now, acknowledges=acknowledges
        )
    )


def _persons_text(text: str) -> str:
    kept = "".join(letter for letter in text if letter.isprintable() or letter == "\n").strip()
    if not kept:
        raise InvalidSubmission([Problem("Text", "is empty; write a few words")])
    if len(kept) > MAX_TEXT:
        raise InvalidSubmission([Problem("Text", f"has {len(kept)} characters; {MAX_TEXT} are allowed")])
    return kept


def _find(connection: Connection, order: str) -> int:
    wanted = storable(order.strip())
    for query in ID_BY.values():
        found = connection.execute(query, {"wanted": wanted}).scalar()
        if found is not None:
            return int(found)
    raise UnknownOrder(f"no order has the PONumber or id {wanted[:100]!r}")


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an order stands, in short."""

    po_number: str
    state: str
    provider_id: str | None
    attention: str | None
    completed_by: datetime | None


def standing(database: Database, po_numbers: Iterable[str]) -> dict[str, Standing]:
    """Where these orders stand, by PONumber; those nobody handed in are left out."""
    columns = [ORDERS.c[entry.name] for entry in fields(Standing)]
    known: dict[str, Standing] = {}
    remaining = iter(po_numbers)
    with database.read() as connection:
        while part := list(itertools.islice(remaining, 500)):
            for row in connection.execute(sa.select(*columns).where(ORDERS.c.po_number.in_(part))):
                known[row.po_number] = Standing(*row)
    return known


def outcome_rows(database: Database, checked: Checked) -> pd.DataFrame:
    """What became of each row of the file, in its order: for people to download.

    Text that a spreadsheet would run as a formula begins with an apostrophe.
    """
    known = standing(database, [request.po_number for request in checked.requests])
    rows = [
        (number, *cells)
        for request in checked.requests
        for number, cells in zip(_numbers(checked, request), _outcomes(request, known), strict=True)
    ]
    columns = ["row", "po_number", "product_id", "value", "quantity", "external_id", "state", "provider_id", "message"]
    return pd.DataFrame(sorted(rows), columns=columns)


def _numbers(checked: Checked, request: OrderRequest) -> Iterable[int]:
    return checked.rows_of.get(request.po_number) or range(1, len(request.lines) + 1)


def _outcomes(request: OrderRequest, known: Mapping[str, Standing]) -> Iterator[tuple[Any, ...]]:
    order = known.get(request.po_number)
    state, provider_id, message = (order.state, order.provider_id, order.attention) if order else ("not sent", "", "")
    for line in request.lines:
        yield (
            guarded(request.po_number),
            guarded(line.product_id),
            line.value_minor / 100,
            line.quantity,
            guarded(line.external_id or ""),
            guarded(state),
            guarded(provider_id or ""),
            guarded(message or ""),
        )


def add_batch(connection: Connection, values: Mapping[str, Any]) -> int:
    """Remembers a file that was handed in."""
    batch_id: int = connection.execute(insert(BATCHES).values(dict(values)).returning(BATCHES.c.id)).scalar_one()
    return batch_id
