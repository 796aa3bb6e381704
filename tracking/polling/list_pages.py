"""Records every order on one page of the provider's list, in one transaction."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection

from tracking import ingest
from tracking.forecasting.planner import PlanningContext
from tracking.orders.line_matching import is_same_order
from tracking.orders.model import Order, State, folded_id, is_open
from tracking.polling.poll_traces import record_poll
from tracking.provider.responses import ParsedOrder
from tracking.storage.database import Database

PAGE_SIZES = (50, 10, 1)  # orders a page; the smaller ones where a larger page cannot be read


async def record_list_page(
    database: Database,
    planner: PlanningContext,
    listed: Sequence[ParsedOrder],
    asked_at: datetime,
    answered_at: datetime,
) -> set[str]:
    """Records what a list page showed of each order, and how often a list lacks the proof that one is finished.

    Returns:
        The provider's ids, case-folded, of the orders that need no poll of their own: all but those that the list
        shows as finished without proof.
    """

    def job(connection: Connection) -> tuple[set[str], list[Order], int]:
        settled, proven, unproven = set(), [], 0
        for parsed in listed:
            order, _ = ingest.discover(connection, parsed, asked_at, answered_at, planner)
            finished = parsed.snapshot.status == State.COMPLETED
            if finished and is_open(order.state):
                unproven += 1
                continue
            if finished and order.completed_by == answered_at:
                proven.append(order)
            if is_same_order(parsed.snapshot, order):
                settled.add(folded_id(parsed.snapshot.provider_id))
        return settled, proven, unproven

    listed_here = [parsed.snapshot.po_number for parsed in listed if parsed.snapshot.po_number]
    settled, proven, unproven = await database.run(job, orders=listed_here)
    planner.forecasts.note_list_proof(len(proven), unproven)
    for order in proven:
        record_poll(order, asked_at, answered_at, by="poll list")
    return settled
