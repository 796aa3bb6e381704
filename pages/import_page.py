"""One import on its page: how far it is and until when, its orders by state, its problems and its rows."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pandas as pd
import streamlit as st

import actors
import address
import cached
import elements
import recording
import session
import times
from charts import overview as charts
from tracking.access import Person
from tracking.orders import wording
from tracking.orders.model import State
from tracking.orders.observations import utc_now
from tracking.orders.vocabulary import reason_label, state_label
from tracking.reports import amounts, health
from tracking.reports.order_page.progress import LEAST_STEPS
from tracking.reports.team.imports import (
    EXPECTED_ORDERS,
    OUTCOME_LABELS,
    PAGE_SIZE,
    ImportLine,
    ImportState,
    ImportView,
    import_rows,
)
from tracking.reports.trends import STATES
from tracking.storage.database import Database
from tracking.submissions import results
from tracking.team import jobs
from tracking.team.imports.discarding import discard

STATES_HEIGHT = 34
STOPS = "Rows that wait make no orders until Resume. Orders created already stay, and those that are queued are sent."


def draw(import_id: int) -> None:
    """All of the import: what moves is read anew every few seconds, its rows when somebody asks."""
    view = cached.import_view(import_id)
    if st.button("All imports", key="all_imports", type="tertiary", icon=":material/arrow_back:"):
        st.query_params.clear()
        st.rerun()
    _head(view)
    _moving(import_id)
    _rows(import_id)


def _head(view: ImportView) -> None:
    line = view.line
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.header(elements.escape(line.name) or "(no name)", anchor=False, width="content")
        with st.container(horizontal=True, vertical_alignment="center", width="content"):
            _buttons(view)
    by = f" by {elements.escape(line.actor)}" if line.actor else ""
    # With its date also on its day, as the page may be printed.
    about = [f"Import {line.id}", f"uploaded {wording.clock(line.created_at)} {times.zone_label()}{by}"]
    about += [wording.count(line.rows, "row"), wording.count(line.orders, "order")]
    st.caption(" · ".join(about))


def _buttons(view: ImportView) -> None:
    """What can be done with the import; who may only look sees no way to stop it."""
    line, database = view.line, session.database()
    if line.job_id is not None and line.state in {ImportState.PLACING, ImportState.STOPPED}:
        stops = line.state is ImportState.PLACING
        label, icon = ("Stop", "stop_circle") if stops else ("Resume", "play_circle")
        act = jobs.stop if stops else jobs.resume
        why_not, meaning = session.may_not_act(), STOPS if stops else None
        if st.button(
            label, key="stop_import", icon=f":material/{icon}:", disabled=bool(why_not), help=why_not or meaning
        ):
            actors.act(label, lambda by: _change(act, line, by))
    if view.outcomes.get("waiting") and line.state in {ImportState.STOPPED, ImportState.UPLOADING}:
        why_not = session.may_not_act()
        if st.button("Discard", key="discard_import", icon=":material/delete:", disabled=bool(why_not), help=why_not):
            _ask_to_discard(line.id, view.outcomes["waiting"])
    st.page_link(
        "orders.py", label="Its orders", icon=":material/list_alt:", query_params={"import": str(line.id)},
        width="content",
    )  # fmt: skip
    st.download_button(
        "Outcome file",
        recording.export(
            "outcome of an import", lambda: _outcome_file(database, line.id), job_id=line.job_id, form="csv"
        ),
        f"outcome-{line.id}.csv",
        "text/csv",
        key="outcome_file",
        on_click="ignore",
        icon=":material/download:",
        help="What came of each row, as it is now",
    )


def _change(act: Any, line: ImportLine, by: Person) -> None:
    act(session.database(), line.job_id, by=by, now=utc_now())
    cached.forget_import()
    st.rerun()


@elements.dialog("Discard waiting orders", icon=":material/delete:")
def _ask_to_discard(import_id: int, waiting: int) -> None:
    """It cannot be undone here, so what it means is read before."""
    st.markdown(f"**{wording.count(waiting, 'order')}** of this file will not be made.")
    st.caption("Their recipients are no longer stored. Uploading the same file again has them wait once more.")
    with st.form("discard_form", border=False):
        person = actors.field()
        sent = st.form_submit_button("Discard", key="discard_submit", type="primary")
    if sent and actors.is_named(person):
        elements.attempt(lambda: _discard(import_id, person))


def _discard(import_id: int, by: Person) -> None:
    orders = discard(session.database(), import_id, by=by, now=utc_now())
    cached.forget_import()
    elements.toast_after_rerun(f"{wording.count(orders, 'order')} discarded.")


def _outcome_file(database: Database, import_id: int) -> tuple[bytes, int]:
    """The file of outcomes, and how many rows it has."""
    rows = results.outcome_rows(database, import_id)
    return results.spreadsheet_file(rows), len(rows)


@elements.live("3s", "import")
def _moving(import_id: int) -> None:
    """How far it is, and what its orders have become."""
    view, now = cached.import_view(import_id), utc_now()
    if st.session_state.get("import_state", (import_id,))[0] != import_id:
        st.session_state.pop("import_state")
    before = st.session_state.get("import_state", (import_id, view.line.state))[1]
    st.session_state["import_state"] = import_id, view.line.state
    if before != view.line.state:
        elements.redraw_page()
    _progress(view, now)
    left, right = st.columns(2, gap="small")
    with left, st.container(border=True, key="import_rows", gap="xxsmall", height="stretch"):
        st.subheader("The file's orders", anchor=False)
        _file_figures(view)
    with right, st.container(border=True, key="import_orders", gap="xxsmall", height="stretch"):
        st.subheader("Orders created", anchor=False)
        _order_figures(view, now)
    _problems(view)


def _progress(view: ImportView, now: datetime) -> None:
    """The bar, and in words until when; an import that does not go on says why."""
    line = view.line
    if line.state is ImportState.EARLIER:
        st.info("Of this file its orders alone are recorded, not its rows: that began with a later version.")
        return
    settled = line.placed + line.rejected
    share = settled / line.orders if line.orders else 1.0
    st.progress(min(share, 1.0), text=f"{settled:,} of {wording.count(line.orders, 'order')} of the file processed")
    match line.state:
        case ImportState.PLACING:
            if health.absent_loop(session.database(), "jobs", now):
                start = "Start `tracking worker` or the console."
                st.warning(f"No worker is running, so no orders are made. {start}", icon=":material/warning:")
        case ImportState.STOPPED:
            by = f" by {elements.escape(line.changed_by)}" if line.changed_by else ""
            st.warning(
                f"Stopped {times.text(line.changed_at)}{by}. {wording.count(line.waiting, 'order')} "
                f"{'waits' if line.waiting == 1 else 'wait'}; Resume goes on.", icon=":material/pause_circle:",
            )  # fmt: skip
        case ImportState.UPLOADING:
            st.warning(
                "Not all rows are saved yet: the upload is in progress, or was interrupted. Uploading the same file "
                "again goes on.", icon=":material/upload_file:",
            )  # fmt: skip
        case ImportState.DISCARDED:
            orders = wording.count(view.outcomes["discarded"], "order")
            st.info(
                f"{orders} of this file will not be made: what waited was discarded. Uploading the same file again "
                "has it wait once more.", icon=":material/delete:",
            )  # fmt: skip
        case _:
            pass


def _placing_text(view: ImportView) -> str:
    """When all orders may be made, at the pace so far; or when all rows were settled."""
    match view.line.state:
        case ImportState.PLACED:
            return f"All were processed here by {times.with_zone(view.line.finished_at)}; they are sent after that."
        case ImportState.PLACING if view.placing is None:
            return "When the last order is made: too early to say."
        case ImportState.PLACING if view.placing is not None:
            return f"At the pace so far all orders are made {view.placing.window}."
    return ""


def _file_figures(view: ImportView) -> None:
    """The file's orders by what came of them; the rows below can be filtered by it."""
    if not view.outcomes:
        return
    for outcome in OUTCOME_LABELS:
        _figure(OUTCOME_LABELS[outcome], view.outcomes.get(outcome, 0))
    st.caption(_placing_text(view))


def _order_figures(view: ImportView, now: datetime) -> None:
    """The orders that it made by state, each with the way to them."""
    if not view.orders:
        st.caption("No order yet.")
        return
    order = [state.value for state in STATES if state in view.states]
    order += sorted(set(view.states) - set(order))
    bars = pd.DataFrame(
        [("", state, view.states[state], f"{view.states[state]:,}") for state in order],
        columns=["bar", "state", "amount", "text"],
    )
    words = ", ".join(f"{view.states[state]:,} {state_label(state)}" for state in order)
    elements.chart(
        charts.lifecycle(bars, STATES_HEIGHT, elements.palette()), "import_states", f"Orders by state: {words}."
    )
    st.caption(f"{amounts.worth(view.values)} · {view.fulfilled:,} of {view.units:,} cards fulfilled")
    this = {"import": str(view.line.id)}
    _figure("Queued, not sent yet", view.queued, this | {"state": State.QUEUED.value})
    _figure("Open", view.open, this | {"view": "open"})
    for state in (State.COMPLETED, State.CANCELLED, State.REFUSED):
        _figure(state_label(state), view.states.get(state, 0), this | {"state": state.value})
    _figure("Needs a decision", view.undecided, this | {"view": "attention"})
    if view.snoozed:
        _figure("Snoozed", view.snoozed, this | {"view": "snoozed"})
    st.caption(" ".join([*([_queued_text(view)] if view.queued else []), _fulfilment_text(view, now)]))


def _queued_text(view: ImportView) -> str:
    """What becomes of the orders that were not sent yet, and what does not keep them back."""
    going = f"{wording.count(view.queued, 'order')} {'goes' if view.queued == 1 else 'go'} to the provider"
    stop = {ImportState.PLACING: "Stop does not take them back", ImportState.STOPPED: "the stop does not change that"}
    taken_back = stop.get(view.line.state, "nothing here takes them back")
    return f"{going} as API calls are free, unless an approval is missing; {taken_back}."


def _fulfilment_text(view: ImportView, now: datetime) -> str:
    """By when the open orders are complete, as far as orders like them tell."""
    if not view.open:
        return "No order is open."
    ends = view.fulfilment
    parts = []
    if trouble := health.why_no_calls(cached.health(), now):
        parts.append(f"When they are complete cannot be told: {trouble}")
    elif ends.pace is not None:
        parts.append(f"At the pace so far all are complete {ends.pace.window} ({ends.steps:,} completions)")
    else:
        enough = f"{min(ends.steps, LEAST_STEPS)} of {LEAST_STEPS} completions"
        parts.append(f"Projected completion of all: not enough history ({enough})")
    if ends.by is not None:
        by = wording.latest(ends.by, now, wording.SAME_MOMENT)[:-3]
        parts.append(f"90 % of the {wording.count(ends.orders, 'open order')} at the provider by {by}")
    if ends.unclear:
        parts.append(f"not enough similar orders to say it of {ends.unclear:,}")
    if ends.too_many:
        parts.append(f"of the more than {EXPECTED_ORDERS:,} open ones at the provider nothing is said one by one")
    if view.unsent:
        parts.append(f"{view.unsent:,} not known to be at the provider yet")
    return f"{'; '.join(parts)}."


def _figure(label: str, count: int, query: Mapping[str, str] | None = None) -> None:
    """A count, with the way to the orders that it counts where there is one."""
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center", gap="small"):
        if query is None:
            st.markdown(f":small[{label}]", width="content")
        else:
            st.page_link("orders.py", label=label, query_params=dict(query), width="content")
        st.markdown(f"**{count:,}**", width="content", text_alignment="right")


def _problems(view: ImportView) -> None:
    """What is wrong, alike problems once."""
    rows = [("Rejected", group.text, group.orders, group.first) for group in view.rejections]
    rows += [("Needs a decision", reason_label(group.reason), group.orders, group.first) for group in view.decisions]
    if not rows:
        return
    st.subheader("Problems", anchor=False)
    cells = [
        {
            "Orders": f"{orders:,}",
            "What": what,
            "Problem": elements.escape(text),
            "For example": elements.escape(first),
        }
        for what, text, orders, first in rows
    ]
    with st.container(key="import_problems"):
        st.table(pd.DataFrame(cells), hide_index=True)


@elements.live("5s", "import_table")
def _rows(import_id: int) -> None:
    """The file's orders one by one, those with one outcome or all."""
    view = cached.import_view(import_id)
    if not (counts := view.outcomes):
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader("Rows", anchor=False, width="content")
        options = ["all", *OUTCOME_LABELS]
        outcome = address.choice("outcome", options, "all")
        st.segmented_control(
            "Outcome", options, required=True, label_visibility="collapsed", wrap=True,
            format_func=lambda name: OUTCOME_LABELS.get(name, "All"),
            **address.bound("outcome", outcome, "all", resets=("page",)),
        )  # fmt: skip
    page = address.page("page")
    rows = import_rows(session.database(), import_id, "" if outcome == "all" else outcome, page)
    if not rows:
        st.caption("None.")
    else:
        _table(rows)
    total = sum(counts.values()) if outcome == "all" else counts.get(outcome, 0)
    if (pages := -(-total // PAGE_SIZE)) > 1:
        key = f"import_page_{outcome}_{page}"
        st.pagination(pages, default=min(page, pages), key=key, on_change=_turn_page, args=(key,))


def _turn_page(key: str) -> None:
    address.write("page", st.session_state[key], 1)


def _table(rows: Any) -> None:
    frame = pd.DataFrame(
        {
            "order": [wording.plain(row.po_number) for row in rows],
            "outcome": [[OUTCOME_LABELS[row.outcome]] for row in rows],
            "state": [elements.state_cell(row.state) if row.state else [] for row in rows],
            "rows": [_places(row.first_row, row.last_row) for row in rows],
            "message": [wording.plain(row.message) for row in rows],
        }
    )
    palette = elements.palette()
    colors = dict(
        zip(
            OUTCOME_LABELS.values(),
            (palette.muted, palette.primary, palette.accent, palette.trouble, palette.muted),
            strict=True,
        )
    )
    st.dataframe(
        frame.apply(lambda column: elements.shortened(column) if column.name in {"order", "message"} else column),
        key="import_table",
        height="content",
        row_height=30,
        hide_index=True,
        placeholder="",
        alt=f"{wording.count(len(rows), 'order')} of the file with what came of them",
        column_config={
            "order": st.column_config.ButtonColumn(
                "PO number", type="tertiary", key="import_order", alignment="left", width=220, pinned=True
            ),
            "outcome": elements.pill_column("Outcome", colors, width=115),
            "state": elements.state_column("State now", {row.state for row in rows if row.state}, width=130),
            "rows": st.column_config.TextColumn("Rows in the file", width=130),
            "message": st.column_config.TextColumn("Message", width="large"),
        },
    )
    click = st.session_state.get("import_order")
    if click and 0 <= click["row"] < len(rows) and rows[click["row"]].state:
        # Streamlit puts these on the address of this page first, where Back leads: it needs its import there.
        query = {"order": rows[click["row"]].po_number, "import": st.query_params["import"]}
        st.switch_page("order.py", query_params=query)


def _places(first: int | None, last: int | None) -> str:
    if first is None or last is None:
        return ""
    return f"{first:,}" if first == last else f"{first:,} to {last:,}"
