"""Divides due orders among the workers on one store, so that they do not choose the same calls.

A preference and no more: what has waited for too long is anybody's, so nothing is left behind where a worker dies.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tracking.polling.due_orders import DueOrders
from tracking.polling.selection import PAGE, Candidates, Flags

PATIENCE = 5.0  # seconds for which a due poll is left to the worker whose it is, and twice as long as ours wait
FEW_URGENT = 16  # so few are anybody's at once: to be fast is worth more than a lease in vain


def own_part(due: DueOrders, owner: str, owners: Sequence[str]) -> DueOrders:
    """What this owner weighs of the orders that could be polled, while these owners poll."""
    workers = sorted({owner, *owners})
    if len(workers) == 1:
        return due
    ours = _preferred(due, workers.index(owner), len(workers))
    each = due.candidates
    candidates = Candidates(
        each.created[ours], each.single_worth[ours], each.list_worth[ours], each.due[ours], each.urgent[ours]
    )
    return replace(
        due,
        ids=due.ids[ours],
        candidates=candidates,
        classes=due.classes[ours],
        webhook_expected=due.webhook_expected[ours],
        ages=due.ages[ours],
        waited=due.waited[ours],
        lag=float(np.max(due.waited[ours & each.due], initial=0.0)),
    )


def _preferred(due: DueOrders, place: int, workers: int) -> Flags:
    """Neighbours, which may share a list page, go to the same worker."""
    ours = due.ids // PAGE % workers == place
    lag = float(np.max(due.waited[ours & due.candidates.due], initial=0.0))
    left_behind = due.candidates.due & (due.waited > PATIENCE + 2 * lag)
    urgent = due.candidates.urgent if due.candidates.urgent.sum() <= FEW_URGENT else np.zeros_like(ours)
    return np.asarray(ours | left_behind | urgent)
