"""Commands about orders: submit, order, place-anew, why, orders, events, export, imports."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Annotated

import typer

from tracking.app.cli import filter_options, options, output
from tracking.app.cli.answers import orders as answers
from tracking.app.cli.context import enforce_approvals, load_settings, open_store
from tracking.errors import UnknownOrder
from tracking.orders.model import State, is_open
from tracking.orders.observations import utc_now
from tracking.orders.vocabulary import state_label
from tracking.orders.wording import source_label
from tracking.provider.json_fields import storable
from tracking.reports import activity, explanations, health
from tracking.reports import order as order_reports
from tracking.reports.as_of.order import order_as_of
from tracking.reports.finding.lookup import notes
from tracking.reports.order_list import search
from tracking.reports.order_list.filters import Filters
from tracking.reports.order_page import story, verdicts
from tracking.reports.order_page.lines import lines_page
from tracking.startup import pd
from tracking.storage.database import Database
from tracking.submissions import actions

LINES_LISTED = 20


def say_without_loop(store: Database, role: str, so_far: str) -> None:
    """Say that nobody does what comes next, where that is so: a command only asks for it."""
    if absent := health.absent_loop(store, role, utc_now()):
        output.print_stderr(f"{so_far}; {absent}")


def find_order(store: Database, po_or_id: str) -> int:
    """Find the one order with this id. Raises UnknownOrder where there is none, or more than one."""
    matches = order_reports.find_order_ids(store, po_or_id)
    if not matches:
        raise UnknownOrder(f"no order matches {po_or_id[:100]!r}")
    if len(matches) > 1:
        raise UnknownOrder(f"more than one order matches {po_or_id[:100]!r}: give its PO number")
    return matches[0]


def _say_who_goes_on(store: Database, state: str) -> None:
    """Say that nobody does what is announced for an open order, where that is so."""
    if is_open(state):
        say_without_loop(
            store,
            "sender" if state in {State.QUEUED, State.SENDING, State.UNKNOWN} else "poller",
            "the order is waiting",
        )


def order_command(
    po_or_id: options.PoOrId,
    *,
    as_of: Annotated[
        datetime | None,
        options.time_option("As it was known then: 2026-01-31T09:00 (UTC), or 2h for two hours ago.", past=True),
    ] = None,
    as_json: options.JsonFlag = False,
) -> None:
    """Show one order: state, sources, lines, timeline; or what was known of it at an earlier time."""
    store = open_store()
    order_id = find_order(store, po_or_id)
    if as_of is not None:
        answers.print_order_as_of(order_as_of(store, order_id, as_of), as_json=as_json)
        return
    if as_json:
        output.print_json(order_reports.order_record(store, order_id))
        return
    now = utc_now()
    view = verdicts.order_view(store, order_id, now)
    lines = lines_page(store, order_id, size=LINES_LISTED)
    answers.print_order(view, lines, story.timeline(store, order_id, now))
    _say_who_goes_on(store, view.order.state)


def place_anew_command(
    po_or_id: options.PoOrId,
    new_po_number: Annotated[str, typer.Argument(parser=storable, metavar="NEW_PO", help="A new PO number.")],
    *,
    wants_both: Annotated[
        bool,
        typer.Option("--both-wanted", help="Confirm that the order that already has the PO number is wanted as well."),
    ] = False,
    actor: Annotated[
        str | None, typer.Option(parser=storable, metavar="NAME", help="Who places it; default: you.")
    ] = None,
    as_json: options.JsonFlag = False,
) -> None:
    """Place an order again under a new PO number, where its own belongs to another order at the provider."""
    loaded = load_settings()
    store = open_store(loaded)
    enforce_approvals(store, loaded)
    placed = actions.place_anew(
        store, po_or_id, new_po_number, by=options.acting_person(actor), now=utc_now(), wants_both=wants_both
    )
    if as_json:
        output.print_json({"po_number": placed, "placed_for": po_or_id})
    else:
        output.print_stdout(f"{placed} is queued; it is noted in the timeline of {po_or_id}")
    _say_who_goes_on(store, State.QUEUED)


def why_command(po_or_id: options.PoOrId, *, as_json: options.JsonFlag = False) -> None:
    """Show when an order is expected to complete, and why it is polled when it is."""
    store = open_store()
    order_id = find_order(store, po_or_id)
    explanation = explanations.explain_next_poll(store, order_id, utc_now())
    title = f"{explanation['po_number']} ({explanation['provider_id'] or 'no provider ID yet'})"
    output.print_answer(explanation, title, *explanation["reasons"], as_json=as_json)
    _say_who_goes_on(store, explanation["state"])


@filter_options.takes_filters
def orders_command(
    *,
    filters: Filters,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Maximum number, newest first.")] = 50,
    as_json: options.JsonFlag = False,
) -> None:
    """List orders, newest first."""
    store, now = open_store(), utc_now()
    filters = replace(filters, page_size=limit + as_json)
    if as_json:
        output.print_json(output.first_of(search.order_records(store, filters, now), limit))
        _say_notes(notes(store, filters.text, now))
        return
    page = search.orders_page(store, filters, now)
    rows = []
    for row in page.rows.astype(object).to_dict("records"):
        cells = (row["po_number"], row["provider_id"], state_label(row["state"]), row["type"], row["units"])
        undecided = isinstance(row["attention"], str) and pd.isna(row["acknowledged_at"])
        facts = (("snoozed", row["snoozed"]), ("late", row["late"]), ("needs a decision", undecided))
        marks = [word for word, so in facts if so] + ([f"of {row['assignee']}"] if row["assignee"] else [])
        rows.append([*cells, row["worth"], row["created_at"], ", ".join(marks)])
    columns = ("PO number", "provider ID", "state", "type", "cards", "value", "created (UTC)", "flags")
    output.print_table(columns, rows, right=("cards", "value"))
    output.print_stdout(f"{len(page.rows)} of {page.number}")
    _say_notes(page.notes)


def _say_notes(sentences: Iterable[str]) -> None:
    for sentence in sentences:
        output.print_stderr(sentence)


def events_command(
    *,
    since: Annotated[
        datetime | None, options.time_option("Start: 2026-01-31T09:00 (UTC), or 2h for two hours ago.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Maximum number, newest first.")] = 100,
    as_json: options.JsonFlag = False,
) -> None:
    """List the event log, newest first."""
    rows = output.first_of(activity.events(open_store(), since, limit + 1), limit)
    if as_json:
        output.print_json(rows)
        return
    cells = ((row["learned_at"], row["po_number"], source_label(row["witness"]), row["text"]) for row in rows)
    output.print_table(("recorded (UTC)", "PO number", "source", "event"), cells)
