"""Backlog, throughput and states of open orders over a span. Bounded reads.

By the hour for 24h and 7d, by the day (UTC) for 30d, as all charts over a span.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from tracking.orders.model import CLOSED, State, is_open
from tracking.reports.board import moves
from tracking.reports.trends import STATES, step_name, step_starts
from tracking.startup import pd
from tracking.storage.database import Database


def flow(database: Database, now: datetime, span: str) -> pd.DataFrame:
    """Backlog and throughput: columns hour, placed, completed, discovered, open; a row for each step.

    `placed` are the orders placed here, or elsewhere and first seen open, by when we learned of them; `completed` those
    seen completed afterwards. `discovered` were completed already when they were first seen: nobody here
    waited for them, so they are in neither of the two. `open` is the number at the step's end, or now.

    Raises ValueError for what is no span.
    """
    steps, rows, stock = _read(database, now, span)
    changes = moves.state_changes(rows)
    opened = moves.open_changes(changes)
    completed, discovered, history = (
        _entered(rows, states)
        for states in (
            {State.COMPLETED.value},
            {f"{moves.FIRST_SIGHT}{State.COMPLETED}"},
            {f"{moves.FIRST_SIGHT}{state}" for state in CLOSED},
        )
    )
    # Each move leaves one state and enters another, so that the surplus is orders seen for the first time.
    new: Counter[datetime] = Counter()
    for (step, _), number in changes.items():
        new[step] += number
    backlog = moves.levels(sum(stock.values()), opened, steps)
    cells = [
        # One that a list showed completed without its proof, and a poll of the next hour with it, was new in the first.
        (step, max(new[step] - history[step], 0), completed[step], discovered[step], level)
        for step, level in zip(steps, backlog, strict=True)
    ]
    return pd.DataFrame(cells, columns=["hour", "placed", "completed", "discovered", "open"])


def lifecycle_course(database: Database, now: datetime, span: str) -> pd.DataFrame:
    """Open orders by state at each step's end, or now: columns hour, state, orders; every state at every step.

    States are those in which an order was at the end of a step, in the order of their lives. Raises ValueError for what
    is no span.
    """
    steps, rows, stock = _read(database, now, span)
    by_state: dict[str, dict[datetime, int]] = {state: {} for state in stock}
    for (step, state), number in moves.state_changes(rows).items():
        if is_open(state):
            by_state.setdefault(state, {})[step] = number
    numbers = {state: moves.levels(stock.get(state, 0), by_state[state], steps) for state in in_order(by_state)}
    cells = [
        (step, state, orders)
        for state, course in numbers.items()
        if any(course)
        for step, orders in zip(steps, course, strict=True)
    ]
    return pd.DataFrame(cells, columns=["hour", "state", "orders"])


def in_order(states: Iterable[str]) -> list[str]:
    """Sort states by where they stand in an order's life; words of the provider's that nobody knows come last."""
    present = set(states)
    return [state.value for state in STATES if state in present] + sorted(present - set(STATES))


def _read(database: Database, now: datetime, span: str) -> tuple[list[datetime], Sequence[Any], dict[str, int]]:
    """The steps of the span, its moves, and the open orders of now by state."""
    steps = step_starts(now, span)
    with database.snapshot() as connection:
        rows = moves.counts_since(connection, ("flow", "left"), steps[0], by_day=step_name(span) == "day")
        stock = {row.state: int(row.orders) for row in moves.open_stock(connection)}
    return steps, rows, stock


def _entered(rows: Iterable[Any], states: set[str]) -> Counter[datetime]:
    """How many orders entered one of these states in each step."""
    entered: Counter[datetime] = Counter()
    for name, step, state, orders in rows:
        if name == "flow" and state in states:
            entered[step] += orders
    return entered
