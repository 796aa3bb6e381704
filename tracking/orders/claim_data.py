"""Claim data in memory and sealed: who holds a claim link, a code or its answer holds money. Pure; opens no store.

Sealed with Fernet (AES-128 in CBC mode and HMAC-SHA256) under keys that are not in the database. Each seal names the
order and the line it was made for, so that a row that was moved to another line is noticed when it is opened.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from tracking.errors import ClaimsUnavailable

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

NO_KEY = "claim data is only counted here, not kept: set TRACKING_CLAIMS_KEY, the same for every process"

Unit = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Claims:
    """The claim data of one line: for each unit its labels with their values. No text of it ever shows them."""

    units: tuple[Unit, ...] = field(repr=False)

    def __repr__(self) -> str:
        return f"Claims({len(self)} units, not shown)"

    def __len__(self) -> int:
        return len(self.units)


class Vault:
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
    def keeps(self) -> bool:
        """Whether there is a key to seal with."""
        return bool(self._keys)

    def seal(self, claims: Claims, po_number: str, line: int) -> str:
        """The claim data of this line of this order, encrypted.

        Raises:
            ClaimsUnavailable: there is no key.
        """
        content = json.dumps({"order": po_number, "line": line, "units": claims.units}, separators=(",", ":"))
        return self._keyed().encrypt(content.encode()).decode()

    def open(self, sealed: str, po_number: str, line: int) -> Claims:
        """What was sealed for this line of this order.

        Raises:
            ClaimsUnavailable: there is no key, none of the keys opens it, or it was sealed for another line.
        """
        from cryptography.fernet import InvalidToken  # noqa: PLC0415 - as below

        fernet = self._keyed()
        try:
            content = json.loads(fernet.decrypt(sealed.encode()))
        except InvalidToken as exc:
            raise ClaimsUnavailable(
                "no key in TRACKING_CLAIMS_KEY opens this claim data: add the key that it was kept with,"
                " unless the row was changed by hand"
            ) from exc
        if (content["order"], content["line"]) != (po_number, line):
            raise ClaimsUnavailable("this claim data was sealed for another line: the row was moved by hand")
        return Claims(tuple(tuple((label, value) for label, value in unit) for unit in content["units"]))

    def _keyed(self) -> MultiFernet:
        if not self._keys:
            raise ClaimsUnavailable(NO_KEY)
        if self._fernet is None:
            # Imported at the first use: it takes a part of a start that somebody waits for.
            from cryptography.fernet import Fernet, MultiFernet  # noqa: PLC0415 - see above

            self._fernet = MultiFernet([Fernet(key) for key in self._keys])
        return self._fernet
