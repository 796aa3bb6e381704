"""Claim data in memory: no text of it ever shows a code or a link. `storage.claims` encrypts it."""

from __future__ import annotations

from dataclasses import dataclass, field

Unit = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ClaimData:
    """The claim data of one line: for each unit its labels with their values. No text of it ever shows them."""

    units: tuple[Unit, ...] = field(repr=False)

    def __repr__(self) -> str:
        return f"ClaimData({len(self)} units, not shown)"

    def __len__(self) -> int:
        return len(self.units)
