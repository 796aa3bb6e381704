"""Decorator `value` for dataclasses that are frozen for the type checker only, and so are made quickly.

A frozen dataclass sets each field past its own guard, which takes six times as long. Of a few kinds a page, a file or a
bulk of orders makes thousands, and there the guard is the type checker's alone.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as value
else:
    from collections.abc import Callable
    from dataclasses import dataclass

    def value(*, frozen: bool, slots: bool) -> Callable[[type], type]:
        """Make a class a dataclass that compares and hashes by its fields, as one that is frozen does."""
        return dataclass(slots=slots, unsafe_hash=frozen)


__all__ = ["value"]
