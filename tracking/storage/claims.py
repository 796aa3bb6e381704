"""Claim data in the store: encrypted when a poll first reads it, and again for each version that differs.

Owns the rows of CLAIMS. They are decrypted by `submissions.actions.reveal` alone, one unit at a time. Encrypted with
Fernet (AES-128 in CBC mode and HMAC-SHA256) under keys that are not in the database. Each ciphertext names the order
and the line it was made for, so that decrypting detects a row that was moved to another line.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from sqlalchemy import Connection, bindparam, func, insert, select

from tracking.errors import ClaimsUnavailable
from tracking.orders.model import ClaimData, Line
from tracking.orders.observations import ClaimRevealed
from tracking.storage.database import Database
from tracking.storage.tables import CLAIMS, LINES

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

# A provider that shows other links at each look would otherwise fill the disk; the log still says that they changed.
VERSIONS_STORED = 20
_STORED = select(CLAIMS.c.number, CLAIMS.c.digest).where(CLAIMS.c.order_id == bindparam("wanted"))
# What is left of an erased recipient is a hash without its salt.
_ERASED = select(LINES.c.number).where(
    LINES.c.order_id == bindparam("wanted"), LINES.c.recipient_hash.is_not(None), LINES.c.recipient_salt.is_(None)
)
_ADD = insert(CLAIMS)


LineClaims = tuple[int, str, ClaimData]  # a line's number, the digest of its claim data, and that as a poll showed it


@dataclass(frozen=True, slots=True)
class ClaimVersion:
    """One version of a line's claim data, encrypted; `number` counts from 1, the oldest."""

    number: int
    units: int
    learned_at: datetime
    sealed: str


def claims_by_line(pairs: Iterable[tuple[Line, Line]], claims: Mapping[int, ClaimData]) -> list[LineClaims]:
    """Match claim data under the provider's line numbers to our own lines; `pairs` are (ours, the provider's)."""
    return [
        (line.number, now.claim_digest, claims[now.number])
        for line, now in pairs
        if now.claim_digest is not None and now.number in claims
    ]


def store_claims(
    connection: Connection,
    order_id: int,
    po_number: str,
    lines: Sequence[LineClaims],
    cipher: ClaimCipher,
    now: datetime,
) -> None:
    """Encrypt and insert new versions of claim data. A line whose recipient was erased gets none again."""
    if not lines or not cipher.has_key:
        return
    stored = {(number, digest) for number, digest in connection.execute(_STORED, {"wanted": order_id})}
    versions = Counter(number for number, _ in stored)
    new = [one for one in lines if one[:2] not in stored and versions[one[0]] < VERSIONS_STORED]
    if not new:
        return
    erased = set(connection.execute(_ERASED, {"wanted": order_id}).scalars())
    rows = [
        {"order_id": order_id, "number": number, "digest": digest, "units": len(claims), "learned_at": now}
        | {"sealed": cipher.encrypt(claims, po_number, number)}
        for number, digest, claims in new
        if number not in erased
    ]
    if rows:
        connection.execute(_ADD, rows)


def claim_lines(database: Database, order_id: int) -> tuple[int, int] | None:
    """Find the first and the last line with claim data; None where no line has any."""
    ends = select(func.min(LINES.c.number), func.max(LINES.c.number))
    with database.read() as connection:
        first, last = connection.execute(ends.where(LINES.c.order_id == order_id, LINES.c.claims > 0)).one()
    return None if first is None else (first, last)


def claim_versions(database: Database, order_id: int, line: int) -> list[tuple[int, datetime]]:
    """List the versions of the line's claim data, oldest first: (units, since when). Decrypts none of them."""
    with database.read() as connection:
        return [(version.units, version.learned_at) for version in load_versions(connection, order_id, line)]


def load_versions(connection: Connection, order_id: int, line: int) -> list[ClaimVersion]:
    """Read all versions of the line's claim data, the oldest first."""
    columns = select(CLAIMS.c.units, CLAIMS.c.learned_at, CLAIMS.c.sealed).where(
        CLAIMS.c.order_id == order_id, CLAIMS.c.number == line
    )
    rows = connection.execute(columns.order_by(CLAIMS.c.learned_at, CLAIMS.c.digest))
    return [ClaimVersion(number, *row) for number, row in enumerate(rows, 1)]


def select_version(
    stored: Sequence[ClaimVersion], request: ClaimRevealed, cipher: ClaimCipher, po_number: str
) -> ClaimVersion:
    """Select the version asked for, or the newest, once the cipher decrypts it. Raises ClaimsUnavailable."""
    line, version = request.line, request.version
    if not cipher.has_key:
        raise ClaimsUnavailable(NO_KEY)
    if not stored:
        raise ClaimsUnavailable(
            f"no claim data of line {line} is stored; poll the order to store what the provider shows"
        )
    if version is not None and not 1 <= version <= len(stored):
        raise ClaimsUnavailable(f"line {line} has no version {version} of its claim data, only 1 to {len(stored)}")
    selected = stored[(version or len(stored)) - 1]
    if not 1 <= request.unit <= selected.units:
        raise ClaimsUnavailable(f"line {line} has no unit {request.unit} with claim data, only 1 to {selected.units}")
    if len(cipher.decrypt(selected.sealed, po_number, line)) != selected.units:
        raise ClaimsUnavailable("the row says another number of units than it holds: it was changed by hand")
    return selected


NO_KEY = "claim data is only counted here, not stored: set TRACKING_CLAIMS_KEY, the same for every process"


class ClaimCipher:
    """Encrypts claim data with the first of the Fernet keys, and decrypts with any; without a key none is stored."""

    def __init__(self, keys: Sequence[str] = ()) -> None:
        self._keys = tuple(keys)

    @property
    def has_key(self) -> bool:
        """Whether there is a key to encrypt with."""
        return bool(self._keys)

    def encrypt(self, claims: ClaimData, po_number: str, line: int) -> str:
        """Encrypt the claim data of this line of this order. Raises ClaimsUnavailable without a key."""
        content = json.dumps({"order": po_number, "line": line, "units": claims.units}, separators=(",", ":"))
        return self._fernet.encrypt(content.encode()).decode()

    def decrypt(self, ciphertext: str, po_number: str, line: int) -> ClaimData:
        """Decrypt what was encrypted for this line of this order. Raises ClaimsUnavailable for anything else."""
        from cryptography.fernet import InvalidToken  # noqa: PLC0415 - as below

        fernet = self._fernet
        try:
            content = json.loads(fernet.decrypt(ciphertext.encode()))
        except InvalidToken as exc:
            raise ClaimsUnavailable(
                "no key in TRACKING_CLAIMS_KEY opens this claim data: add the key that it was encrypted with,"
                " unless the row was changed by hand"
            ) from exc
        if (content["order"], content["line"]) != (po_number, line):
            raise ClaimsUnavailable("this claim data was encrypted for another line: the row was moved by hand")
        return ClaimData(tuple(tuple((label, value) for label, value in unit) for unit in content["units"]))

    @cached_property
    def _fernet(self) -> MultiFernet:
        if not self._keys:
            raise ClaimsUnavailable(NO_KEY)
        # Imported at the first use: it takes a part of a start that somebody waits for.
        from cryptography.fernet import Fernet, MultiFernet  # noqa: PLC0415 - see above

        return MultiFernet([Fernet(key) for key in self._keys])
