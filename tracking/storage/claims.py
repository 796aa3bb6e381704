"""How claim data is kept: sealed when it is first seen, each later version beside the first. Steps of a job's.

Owns the rows of CLAIMS. What is in them is only opened by `submissions.reveal`, one unit at a time.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, func, insert, select

from tracking.errors import ClaimsUnavailable
from tracking.orders.claim_data import NO_KEY, Claims, Vault
from tracking.orders.model import Line
from tracking.orders.observations import Unsealed
from tracking.storage.database import Database
from tracking.storage.tables import CLAIMS, LINES

# A provider that shows other links at each look would otherwise fill the disk; the log still says that they changed.
VERSIONS_KEPT = 20
_STORED = select(CLAIMS.c.number, CLAIMS.c.digest).where(CLAIMS.c.order_id == bindparam("wanted"))
# What is left of an erased recipient is a hash without its salt.
_ERASED = select(LINES.c.number).where(
    LINES.c.order_id == bindparam("wanted"), LINES.c.recipient_hash.is_not(None), LINES.c.recipient_salt.is_(None)
)
_ADD = insert(CLAIMS)


@dataclass(frozen=True, slots=True)
class Found:
    """A line's claim data as a look showed it."""

    number: int
    digest: str
    claims: Claims


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a line's claim data, sealed; `number` counts from 1, the oldest."""

    number: int
    units: int
    learned_at: datetime
    sealed: str


def found(pairs: Iterable[tuple[Line, Line]], shown: Mapping[int, Claims]) -> list[Found]:
    """The claim data that was shown by the provider's numbers of the lines, by our own."""
    return [
        Found(line.number, now.claim_digest, shown[now.number])
        for line, now in pairs
        if now.claim_digest is not None and now.number in shown
    ]


def keep(
    connection: Connection, order_id: int, po_number: str, shown: Sequence[Found], vault: Vault, now: datetime
) -> None:
    """Seals what is new of it. A line whose recipient was erased gets nothing again: erased stays erased."""
    if not shown or not vault.keeps:
        return
    known = {(number, digest) for number, digest in connection.execute(_STORED, {"wanted": order_id})}
    versions = Counter(number for number, _ in known)
    new = [one for one in shown if (one.number, one.digest) not in known and versions[one.number] < VERSIONS_KEPT]
    if not new:
        return
    erased = set(connection.execute(_ERASED, {"wanted": order_id}).scalars())
    rows = [
        {
            "order_id": order_id,
            "number": one.number,
            "digest": one.digest,
            "units": len(one.claims),
            "sealed": vault.seal(one.claims, po_number, one.number),
            "learned_at": now,
        }
        for one in new
        if one.number not in erased
    ]
    if rows:
        connection.execute(_ADD, rows)


def claim_lines(database: Database, order_id: int) -> tuple[int, int] | None:
    """The first and the last line that showed claim data, None where none did."""
    ends = select(func.min(LINES.c.number), func.max(LINES.c.number))
    with database.read() as connection:
        first, last = connection.execute(ends.where(LINES.c.order_id == order_id, LINES.c.claims > 0)).one()
    return None if first is None else (first, last)


def claim_versions(database: Database, order_id: int, line: int) -> list[tuple[int, datetime]]:
    """The versions of the line's claim data, oldest first: how many units, and since when. Opens none of them."""
    with database.read() as connection:
        return [(version.units, version.learned_at) for version in versions(connection, order_id, line)]


def versions(connection: Connection, order_id: int, line: int) -> list[Version]:
    """All versions of the line's claim data, the oldest first."""
    wanted = select(CLAIMS.c.units, CLAIMS.c.learned_at, CLAIMS.c.sealed).where(
        CLAIMS.c.order_id == order_id, CLAIMS.c.number == line
    )
    rows = connection.execute(wanted.order_by(CLAIMS.c.learned_at, CLAIMS.c.digest))
    return [Version(number, *row) for number, row in enumerate(rows, 1)]


def chosen(known: Sequence[Version], wanted: Unsealed, vault: Vault, po_number: str) -> Version:
    """The version asked for, or the newest, which the vault is sure to open.

    Raises:
        ClaimsUnavailable: nothing is kept, there is no such version or unit, or it cannot be opened.
    """
    line, version = wanted.line, wanted.version
    if not vault.keeps:
        raise ClaimsUnavailable(NO_KEY)
    if not known:
        raise ClaimsUnavailable(f"no claim data of line {line} is kept; another look at the order keeps what it shows")
    if version is not None and not 1 <= version <= len(known):
        raise ClaimsUnavailable(f"line {line} has no version {version} of its claim data, only 1 to {len(known)}")
    found = known[(version or len(known)) - 1]
    if not 1 <= wanted.unit <= found.units:
        raise ClaimsUnavailable(f"line {line} has no unit {wanted.unit} with claim data, only 1 to {found.units}")
    if len(vault.open(found.sealed, po_number, line)) != found.units:
        raise ClaimsUnavailable("the row says another number of units than it holds: it was changed by hand")
    return found
