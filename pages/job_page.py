"""One job on its page: how far it is and when it ends, by whom, stop and resume, and each of its orders."""

import functools
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import streamlit as st

import actors
import address
import cached
import elements
import exports
import job_words
import session
import times
from tracking.access import Person
from tracking.orders import wording
from tracking.orders.observations import utc_now
from tracking.reports import health
from tracking.reports.team import jobs as reports
from tracking.reports.team.jobs import JobStatus, JobView, TouchedOrder
from tracking.storage.database import Database
from tracking.team import jobs
from tracking.team.plans import CALLS, Act

OUTCOMES = {"all": "All", "done": "Done", "skipped": "Skipped", "waiting": "Waiting"}
BADGES = {
    "running": ("play_circle", "blue"), "stopped": ("pause_circle", "orange"), "finished": ("check_circle", "green"),
}  # fmt: skip
HEAD_HEIGHT = 215  # pixels: what moves within it moves nothing below
REASONS_LISTED = 6


@elements.live("2s", "job")
def draw(job_id: int) -> None:
    """The job's head and its orders, both of one read and read anew while it runs, so that all counts agree."""
    outcome, now = address.choice("outcome", OUTCOMES, "all"), utc_now()
    view = reports.job_view(
        session.database(), job_id, None if outcome == "all" else outcome, address.page("orders_page"), now
    )
    _draw_head(view.job, now)
    _draw_orders(view, outcome)


def _draw_head(job: JobStatus, now: datetime) -> None:
    with st.container(border=True, key="job_head", height=HEAD_HEIGHT, gap="xsmall"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small", key="job_title"):
            st.header(elements.escape(job_words.naming(job.act, job.total)), anchor=False, width="content")
            icon, color = BADGES[job.state]
            st.badge(job.state_label, icon=f":material/{icon}:", color=color)  # type: ignore[arg-type]  # only its colours
            st.space("stretch")
            _draw_buttons(job)
        st.progress(_share(job), text=_progress_text(job))
        st.markdown(elements.escape(_pace(job, now)))
        for why, number in list(job.skipped_why.items())[:REASONS_LISTED]:
            st.caption(f"{number:,} skipped: {elements.escape(why)}")
        st.caption(elements.escape(_origin(job, now)))
        if job.changed_at and job.changed_by:
            what = "Stopped" if job.state == "stopped" else "Resumed"
            st.caption(elements.escape(f"{what} by {job.changed_by}, {times.text(job.changed_at, now)}"))


def _share(job: JobStatus) -> float:
    return (job.total - job.waiting) / job.total if job.total else 1.0


def _progress_text(job: JobStatus) -> str:
    past = job_words.PAST[Act(job.act)]
    parts = [f"{job.done:,} {past}"]
    parts += [f"{job.skipped:,} skipped"] if job.skipped else []
    parts += [f"{job.waiting:,} waiting"] if job.waiting else []
    return f"{job.total - job.waiting:,} of {job.total:,}: {', '.join(parts)}"


def _pace(job: JobStatus, now: datetime) -> str:
    """How fast it is and when it ends, or how long it took; only what is known."""
    if job.finished_at:
        took = wording.duration(job.finished_at - job.created_at)
        return f"Complete since {times.text(job.finished_at, now)}, {took} after it was started."
    if job.state == "stopped":
        return f"{wording.count(job.waiting, 'order')} wait until it is resumed; they stay as they are."
    if absent := health.absent_loop(session.database(), "jobs", now):
        return f"Nothing is done at the moment: {absent}."
    if Act(job.act) in CALLS and (trouble := health.why_no_calls(cached.health(), now)):
        return f"No end can be told: {trouble}. Orders are {job_words.PAST[Act(job.act)]}, and wait for it there."
    if job.ends_at is None:
        return "Running; how fast is not known yet."
    left = job.ends_at - now
    rate = job.waiting / max(left.total_seconds(), 0.001)
    pace = f"{rate:,.0f} a second" if rate >= 1 else f"{rate * 60:,.0f} a minute"
    return f"{pace}; ends about {wording.latest(job.ends_at, now)}, in {wording.duration(left)}."


def _origin(job: JobStatus, now: datetime) -> str:
    signed = "" if job.signed_in else " (not signed in)"
    by, at = f"{job.person}{signed}", times.text(job.created_at, now)
    # An import acts in the name of whoever last had it go on.
    origin = f"In the name of {by}, started {at}" if job.act == Act.IMPORT else f"Started by {by}, {at}"
    parts = [origin, job_words.chosen_by(job.filter)]
    return " · ".join(part for part in [*parts, job_words.details(job.parameters, job.act, now)] if part)


def _draw_buttons(job: JobStatus) -> None:
    viewer = session.may_not_act()
    act: Callable[..., None]
    if job.state == "running":
        act, name, icon = jobs.stop, "Stop", "stop_circle"
    elif job.state == "stopped":
        act, name, icon = jobs.resume, "Resume", "play_circle"
    else:
        return
    pressed = st.button(
        name, key="job_change", icon=f":material/{icon}:", type="primary" if name == "Resume" else "secondary",
        disabled=viewer is not None, help=viewer,
    )  # fmt: skip
    if pressed:
        actors.act(name, functools.partial(_change, act, job.id))


def _change(act: Callable[..., None], job_id: int, by: Person) -> None:
    act(session.database(), job_id, by=by, now=utc_now())
    done = "Stopped: no further order is touched." if act is jobs.stop else "Resumed."
    elements.toast_after_rerun(done)


# Its orders


def _draw_orders(view: JobView, outcome: str) -> None:
    """The orders page by page, by what became of them."""
    job = view.job
    if job.act == Act.IMPORT:
        query = {"import": str(job.parameters["batch_id"])}
        st.page_link("imports.py", label="The import's page", icon=":material/upload_file:", query_params=query)
        return
    numbers = {"all": job.total, "done": job.done, "skipped": job.skipped, "waiting": job.waiting}
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="job_orders_head"):
        st.segmented_control(
            "Orders of the job", list(OUTCOMES), required=True, label_visibility="collapsed", wrap=True,
            format_func=lambda name: f"{OUTCOMES[name]} {numbers[name]:,}",
            **address.bound("outcome", outcome, "all", resets=("orders_page",)),
        )  # fmt: skip
        _draw_export(job.id, outcome)
        query = {"job": str(job.id)}
        st.page_link("orders.py", label="Show in the list of orders", icon=":material/list_alt:", query_params=query)
    if view.orders:
        _draw_table(view.orders, numbers[outcome])
    else:
        st.caption("None.")
    if view.pages > 1:
        st.pagination(
            view.pages, default=view.page, key=f"job_pages_{outcome}", on_change=_turn, args=(f"job_pages_{outcome}",)
        )


def _turn(key: str) -> None:
    address.write("orders_page", st.session_state[key], 1)


def _draw_table(rows: Sequence[TouchedOrder], number: int) -> None:
    cells: list[dict[str, Any]] = [
        {
            "po_number": wording.plain(row.po_number),
            "outcome": OUTCOMES[row.outcome],
            "why": wording.plain(row.why or ""),
            "at": row.at,
            "state": elements.state_cell(row.state),
        }
        for row in rows
    ]
    st.dataframe(
        cells,
        key="job_orders_table",
        hide_index=True,
        placeholder="",
        height="content",
        alt=f"{len(rows)} of {number:,} orders of the job, with what became of each",
        column_config={
            "po_number": st.column_config.ButtonColumn(
                "PO number", type="tertiary", alignment="left", key="job_order_open", width=220
            ),
            "outcome": st.column_config.TextColumn("Outcome", width=90),
            "why": st.column_config.TextColumn("Why it was skipped", width=320),
            "at": times.column("When"),
            "state": elements.state_column("State now", sorted({state for cell in cells for state in cell["state"]})),
        },
    )
    click = st.session_state.get("job_order_open")
    if click and 0 <= click["row"] < len(rows):
        # Streamlit puts these on the address of this page first, where Back leads: it needs its job there.
        query = {"order": rows[click["row"]].po_number, "job": st.query_params["job"]}
        st.switch_page("order.py", query_params=query)


def _draw_export(job_id: int, outcome: str) -> None:
    with st.popover("Export", icon=":material/download:", key="job_export"):
        st.caption("Each order with what became of it. Without recipients. Times are UTC.")
        make = functools.partial(_exported, session.database(), job_id, None if outcome == "all" else outcome)
        exports.buttons("orders of a job", make, key="job_export", file_name=f"job-{job_id}-{outcome}", job_id=job_id)


def _exported(database: Database, job_id: int, outcome: str | None, form: str) -> tuple[bytes, int]:
    return exports.in_memory(
        lambda file: reports.write_touched(database, job_id, form=form, file=file, outcome=outcome)
    )
