"""Columns of exports: the kind of each decides how it is written in every form.

An amount is a decimal text in a record ("12.50"), in the currency of a column beside it; two currencies have no sum.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a column holds, in the words of docs/exports.md."""

    TEXT = "text"
    IDENTIFIER = "identifier"
    WHOLE = "whole number"
    AMOUNT = "amount"
    AMOUNTS = "amounts"
    TIME = "time"
    FLAG = "true or false"
    JSON = "JSON"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a file."""

    name: str
    kind: Kind = Kind.TEXT


def columns(**kinds: Kind) -> tuple[Column, ...]:
    """Columns of these names and kinds, in this order."""
    return tuple(Column(name, kind) for name, kind in kinds.items())


def names_of(these: Iterable[Column]) -> tuple[str, ...]:
    """The names of the columns."""
    return tuple(column.name for column in these)
