"""How a fault is planted in the product while it runs: in memory, for as long as it is wanted, never in a file."""

import contextlib
import inspect
import textwrap
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

Plant = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True, slots=True)
class Mutant:
    """One planted fault."""

    name: str
    sentence: str
    plant: Plant


def rewritten(owner: Any, name: str, *changes: tuple[str, str]) -> Plant:
    """The function with some of its text replaced; each piece must be there exactly once."""

    def plant() -> AbstractContextManager[Any]:
        function = getattr(owner, name)
        source = textwrap.dedent(inspect.getsource(function))
        for old, new in changes:
            if source.count(old) != 1:
                raise LookupError(f"{name} does not hold {old!r} once: bring the mutant up to date")
            source = source.replace(old, new)
        made: dict[str, Any] = {}
        module = inspect.getmodule(function)
        exec(compile(source, f"<mutant of {name}>", "exec"), vars(module), made)
        return patch.object(owner, name, made[name])

    return plant


def replaced(owner: Any, name: str, value: Any) -> Plant:
    """Another value or function in the place of one that must exist."""
    return lambda: patch.object(owner, name, value)


def both(*plants: Plant) -> Plant:
    """Several changes that make one fault."""

    @contextlib.contextmanager
    def planted() -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for plant in plants:
                stack.enter_context(plant())
            yield

    return planted


def one_transaction_late(owner: Any, name: str, *changes: tuple[str, str]) -> Plant:
    """What the function hands to `later` is done with the next transaction that comes by.

    Without changes that is all that the function does.
    """

    @contextlib.contextmanager
    def planted() -> Iterator[None]:
        original, waiting = getattr(owner, name), list[tuple[Callable[..., Any], tuple[Any, ...]]]()

        def later(connection: Any, act: Callable[..., Any], *args: Any) -> None:
            for before, given in waiting:
                before(connection, *given)
            waiting[:] = [(act, args)]

        module = inspect.getmodule(original)
        with contextlib.ExitStack() as stack:
            stack.enter_context(patch.object(module, "later", later, create=True))
            if changes:
                stack.enter_context(rewritten(owner, name, *changes)())
            else:
                late = lambda connection, *args: later(connection, original, *args)  # noqa: E731 - for one line
                stack.enter_context(patch.object(owner, name, late))
            yield

    return planted
