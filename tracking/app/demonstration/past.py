"""The sandbox's side of the week: places orders at past times, and shows them as they were then.

For a history that a console followed: what it was answered then agrees with what it is answered now.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from tracking.sandbox.database import BalanceTooLow, Placement, SandboxLine, SandboxOrder
from tracking.sandbox.faults import Faults, seeded_random
from tracking.sandbox.order_lifecycle import Lifecycle, schedule_webhooks
from tracking.sandbox.order_validation import ValidationErrors, validate_order
from tracking.sandbox.order_views import order_json
from tracking.sandbox.provider import Provider


@dataclass(frozen=True)
class Course:
    """How an order went.

    Attributes:
        faults: fields of `Faults` and their values.
        seconds: from placing to completion; None: drawn as for any order.
        claims_after: seconds from placing until the claim data is there; None: as the faults say.
    """

    faults: Mapping[str, Any] = field(default_factory=dict)
    seconds: float | None = None
    claims_after: float | None = None


@dataclass(frozen=True)
class PastOrder:
    """An order of the past: `webhooks` are those that were due before the present, as (due, body)."""

    order: SandboxOrder
    lines: Sequence[SandboxLine]
    webhooks: tuple[tuple[float, bytes], ...]


class Past:
    """Places orders up to `until`, in seconds since 1970; webhooks that are due later are sent as any other."""

    def __init__(self, provider: Provider, until: float) -> None:
        self._provider, self._until = provider, until

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what is placed within the block at once, or nothing of it."""
        with self._provider.database.transaction():
            yield

    def place(self, document: Mapping[str, Any], at: float, course: Course, *, elsewhere: bool = False) -> PastOrder:
        """Place an order; one that is there already is left as it is. ValueError where it breaks the rules."""
        faults = replace(Faults(), **course.faults)
        existing = self._provider.database.order_by_po_number(str(document["PONumber"]))
        order = existing or self._insert(document, at, course, faults, elsewhere=elsewhere)
        webhooks = [] if elsewhere else schedule_webhooks(_lifecycle(order), faults, self._provider.speed)
        past = (
            (one.due_at, json.dumps(one.body(order.id, order.po_number)).encode())
            for one in webhooks
            if one.due_at <= self._until
        )
        return PastOrder(order, self._provider.lines([order])[order.number], tuple(past))

    def _insert(
        self, document: Mapping[str, Any], at: float, course: Course, faults: Faults, *, elsewhere: bool
    ) -> SandboxOrder:
        valid = validate_order(dict(document), faults)
        if isinstance(valid, ValidationErrors):
            raise ValueError(str(valid.messages))  # noqa: TRY004 - it is a value
        rng = seeded_random(self._provider.seed, "course", valid.po_number)
        lifecycle = self._provider.plan(valid, faults, at, rng, seconds=course.seconds)
        if course.claims_after is not None:
            lifecycle = replace(lifecycle, claims_at=at + course.claims_after)
        webhooks = [] if elsewhere else schedule_webhooks(lifecycle, faults, self._provider.speed)
        ahead = [one for one in webhooks if one.due_at > self._until]
        source = "elsewhere" if elsewhere else "api"
        placement = Placement(valid, lifecycle, source, at, faults.claim_data, faults.rotate_claims, ahead)  # type: ignore[arg-type]  # one of the two sources
        order = self._provider.database.place(placement, debit=not elsewhere)
        if isinstance(order, BalanceTooLow):
            raise ValueError("the balance is too low")  # noqa: TRY004 - it is a value
        return order

    def answer(self, past: PastOrder, at: float) -> dict[str, Any]:
        """Render the order as a call at that time showed it."""
        context = self._provider.view_context(past.order, at, reading=True)
        return order_json(past.order, past.lines, context)


def _lifecycle(order: SandboxOrder) -> Lifecycle:
    return Lifecycle(order.steps, (), order.claims_at)
