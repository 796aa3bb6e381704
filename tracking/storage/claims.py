"""Claim data in the store: encrypted when it is first read, each later version beside the first. Steps of a job.

Owns the rows of CLAIMS. What is in them is decrypted by `submissions.actions.reveal` alone, one unit at a time.
Encrypted with Fernet (AES-128 in CBC mode and HMAC-SHA256) under keys that are not in the database. Each ciphertext
names the order and the line it was made for, so that a row that was moved to another line is noticed when it is opened.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Self

from sqlalchemy import Connection, bindparam, func, insert, select

from tracking.errors import ClaimsUnavailable
from tracking.orders.claim_data import ClaimData
from tracking.orders.model import Line
from tracking.orders.observations import ClaimRevealed
from tracking.storage.database import Database
from tracking.storage.tables import CLAIMS, LINES

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

# A provider that shows other links at each look would otherwise fill the disk; the log still says that they changed.
VERSIONS_KEPT = 20
_STORED = select(CLAIMS.c.number, CLAIMS.c.digest).where(CLAIMS.c.order_id == bindparam("wanted"))
# What is left of an erased recipient is a hash without its salt.
_ERASED = select(LINES.c.number).where(
    LINES.c.order_id == bindparam("wanted"), LINES.c.recipient_hash.is_not(None), LINES.c.recipient_salt.is_(None)
)
_ADD = insert(CLAIMS)


@dataclass(frozen=True, slots=True)
class LineClaims:
    """A line's claim data as a look showed it."""

    number: int
    digest: str
    claims: ClaimData


@dataclass(frozen=True, slots=True)
class ClaimVersion:
    """One version of a line's claim data, sealed; `number` counts from 1, the oldest."""

    number: int
    units: int
    learned_at: datetime
    sealed: str


def claims_by_line(pairs: Iterable[tuple[Line, Line]], shown: Mapping[int, ClaimData]) -> list[LineClaims]:
    """The claim data that was shown by the provider's numbers of the lines, by our own."""
    return [
        LineClaims(line.number, now.claim_digest, shown[now.number])
        for line, now in pairs
        if now.claim_digest is not None and now.number in shown
    ]


def store_claims(
    connection: Connection,
    order_id: int,
    po_number: str,
    shown: Sequence[LineClaims],
    vault: ClaimCipher,
    now: datetime,
) -> None:
    """Seals what is new of it. A line whose recipient was erased gets nothing again: erased stays erased."""
    if not shown or not vault.has_key:
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
            "sealed": vault.encrypt(one.claims, po_number, one.number),
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


def versions(connection: Connection, order_id: int, line: int) -> list[ClaimVersion]:
    """All versions of the line's claim data, the oldest first."""
    wanted = select(CLAIMS.c.units, CLAIMS.c.learned_at, CLAIMS.c.sealed).where(
        CLAIMS.c.order_id == order_id, CLAIMS.c.number == line
    )
    rows = connection.execute(wanted.order_by(CLAIMS.c.learned_at, CLAIMS.c.digest))
    return [ClaimVersion(number, *row) for number, row in enumerate(rows, 1)]


def select_version(
    known: Sequence[ClaimVersion], wanted: ClaimRevealed, vault: ClaimCipher, po_number: str
) -> ClaimVersion:
    """The version asked for, or the newest, which the vault is sure to open.

    Raises:
        ClaimsUnavailable: nothing is kept, there is no such version or unit, or it cannot be opened.
    """
    line, version = wanted.line, wanted.version
    if not vault.has_key:
        raise ClaimsUnavailable(NO_KEY)
    if not known:
        raise ClaimsUnavailable(f"no claim data of line {line} is kept; another look at the order keeps what it shows")
    if version is not None and not 1 <= version <= len(known):
        raise ClaimsUnavailable(f"line {line} has no version {version} of its claim data, only 1 to {len(known)}")
    found = known[(version or len(known)) - 1]
    if not 1 <= wanted.unit <= found.units:
        raise ClaimsUnavailable(f"line {line} has no unit {wanted.unit} with claim data, only 1 to {found.units}")
    if len(vault.decrypt(found.sealed, po_number, line)) != found.units:
        raise ClaimsUnavailable("the row says another number of units than it holds: it was changed by hand")
    return found


NO_KEY = "claim data is only counted here, not kept: set TRACKING_CLAIMS_KEY, the same for every process"


class ClaimCipher:
    """Seals and opens claim data.

    Args:
        keys: Fernet keys, checked by whoever read them. The first seals, all of them open; with none nothing is kept.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = tuple(keys)
        self._fernet: MultiFernet | None = None

    @classmethod
    def none(cls) -> Self:
        """For a process without a key: claim data is counted and not kept."""
        return cls(())

    @property
    def has_key(self) -> bool:
        """Whether there is a key to seal with."""
        return bool(self._keys)

    def encrypt(self, claims: ClaimData, po_number: str, line: int) -> str:
        """The claim data of this line of this order, encrypted.

        Raises:
            ClaimsUnavailable: there is no key.
        """
        content = json.dumps({"order": po_number, "line": line, "units": claims.units}, separators=(",", ":"))
        return self._cipher().encrypt(content.encode()).decode()

    def decrypt(self, ciphertext: str, po_number: str, line: int) -> ClaimData:
        """What was sealed for this line of this order.

        Raises:
            ClaimsUnavailable: there is no key, none of the keys opens it, or it was sealed for another line.
        """
        from cryptography.fernet import InvalidToken  # noqa: PLC0415 - as below

        fernet = self._cipher()
        try:
            content = json.loads(fernet.decrypt(ciphertext.encode()))
        except InvalidToken as exc:
            raise ClaimsUnavailable(
                "no key in TRACKING_CLAIMS_KEY opens this claim data: add the key that it was kept with,"
                " unless the row was changed by hand"
            ) from exc
        if (content["order"], content["line"]) != (po_number, line):
            raise ClaimsUnavailable("this claim data was sealed for another line: the row was moved by hand")
        return ClaimData(tuple(tuple((label, value) for label, value in unit) for unit in content["units"]))

    def _cipher(self) -> MultiFernet:
        if not self._keys:
            raise ClaimsUnavailable(NO_KEY)
        if self._fernet is None:
            # Imported at the first use: it takes a part of a start that somebody waits for.
            from cryptography.fernet import Fernet, MultiFernet  # noqa: PLC0415 - see above

            self._fernet = MultiFernet([Fernet(key) for key in self._keys])
        return self._fernet
