"""What reached us, what we asked, what happened: callbacks, calls of the provider's API, the event log."""

from typing import Any

import pandas as pd
import streamlit as st

import charts
import shared
from tracking.reports import activity, health
from tracking.reports.order_list import query_params

SIZE = 100
# The words are also those of the address, which takes what a widget shows.
OUTCOMES = {
    "all": "every call of our address",
    "accepted": "proven by its address and matched to an order",
    "repeated": "came again, which changed nothing",
    "waiting": "proven, but its order is not known here yet",
    "refused": "proved nothing, or named another order than its address",
}


REPLAYED = {"24 hours": "24h", "7 days": "7d", "30 days": "30d"}
NOTHING_TRIED = "none, the frontier alone"
# The option with its figure, the figure's name, and where it begins.
TRIED = {
    NOTHING_TRIED: ("", "", 0.0),
    "ours, the price follows the budget": ("", "", 0.0),
    "ours, at a fixed price": ("price", "Price of a call, s", 10.0),
    "waits that double": ("ceiling", "Longest wait, s", 60.0),
    "a fixed wait": ("wait", "Wait, s", 60.0),
}
PLAN_WORDS = dict(
    zip(
        TRIED,
        ((), ("--policy", "accrual"), ("--policy", "accrual"), ("--policy", "doubling"), ("--policy", "fixed")),
        strict=True,
    )
)
DELAYS = {"mean": "mean delay", "p95": "delay of 95 of 100"}
REPLAY_HEADERS = {
    "calls_an_hour": "Calls an hour", "mean": "Mean, s", "mean_least": "at least", "mean_most": "at most",
    "p95": "95 of 100 within, s", "p95_least": "at least ", "p95_most": "at most ", "longest": "Longest, s",
}  # fmt: skip


def open_order(key: str, po_numbers: pd.Series) -> None:
    """Opens the order of the row whose cell was clicked."""
    cells = st.session_state[key].selection.cells
    if cells and cells[0][0] < len(po_numbers):
        po_number = po_numbers.iloc[cells[0][0]]
        if isinstance(po_number, str):
            st.switch_page("timeline.py", query_params={"order": po_number})


def shown(frame: pd.DataFrame, key: str, alt: str) -> None:
    """A table whose rows open their order, with its pages."""
    if frame.empty:
        st.caption("Nothing here.")
    else:
        st.dataframe(
            frame,
            key=f"{key}_table",
            hide_index=True,
            column_config=shared.columns(frame),
            placeholder="",
            on_select="rerun",
            selection_mode="single-cell",
            alt=alt,
        )
        st.caption("A click on a row opens its order. Times are UTC.")
        open_order(f"{key}_table", frame["po_number"])


def offset(key: str) -> int:
    """Where the chosen page begins."""
    return (int(st.session_state.get(key, 1)) - 1) * SIZE


def pages(key: str, rows: int) -> None:
    """Goes on as long as full pages come."""
    page = int(st.session_state.get(key, 1))
    if rows == SIZE or page > 1:
        st.pagination(page + (rows == SIZE), key=key)


def callbacks() -> None:
    """The inbox of callbacks."""
    outcome = st.pills(
        "Outcome",
        list(OUTCOMES),
        key="outcome",
        bind="query-params",
        default="all",
        required=True,
    )
    st.caption(f"{outcome}: {OUTCOMES[outcome or 'all']}")
    frame = activity.callbacks(
        shared.database(),
        outcome="" if outcome == "all" else outcome or "",
        limit=SIZE,
        offset=offset("callbacks_page"),
    )
    known = ["received_at", "outcome", "po_number", "repeats", "reason", "provider_id", "action", "stated_at", "size"]
    shown(frame[known], "callbacks", "Callbacks, newest first")
    counted = health.fact(shared.database(), "refusals")
    if counted:
        st.caption(f"{counted[1].get('counted', 0):,} refused calls in all; the newest are kept.")
    pages("callbacks_page", len(frame))


def calls() -> None:
    """Calls of the provider's API."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        method = st.selectbox(
            "Method", ["", "GET", "POST"], key="method", format_func=lambda word: word or "any", width=160
        )
        failed = st.toggle("Only failed", key="failed")
    begin = offset("calls_page")
    frame = activity.provider_calls(shared.database(), failed=failed, method=method, limit=SIZE, offset=begin)
    if len(frame):
        middle = frame["milliseconds"].median()
        st.caption(f"Half of these {len(frame)} calls took at the most {middle:.0f} ms.")
    shown(frame, "calls", "Calls of the provider's API, newest first")
    pages("calls_page", len(frame))


def log() -> None:
    """The event log."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        kinds = st.multiselect("Kind", shared.words()["kinds"], key="kinds")
        since = st.text_input("Within the last", key="since", placeholder="30m, 1h, 2d")
    try:
        after = shared.now() - query_params.parse_length(since) if since else None
    except (ValueError, OverflowError) as exc:
        st.warning(shared.escape(exc))
        after = None
    begin = offset("log_page")
    found = activity.events(shared.database(), after, SIZE, kinds=kinds, offset=begin)
    frame = pd.DataFrame(found, columns=["learned_at", "po_number", "text", "witness", "kind", "actor", "at"])
    shown(frame, "log", "Events, newest first")
    pages("log_page", len(frame))


def files() -> None:
    """Files that were handed in."""
    frame = activity.batches(shared.database())
    if frame.empty:
        st.caption("No file has been handed in.")
        return
    frame = frame.assign(digest=frame["digest"].str[:10])
    st.dataframe(
        frame,
        key="files_table",
        hide_index=True,
        column_config=shared.columns(frame),
        placeholder="",
        alt="Files handed in, newest first",
    )


def schedule() -> None:
    """The laboratory: the recorded history replayed under other schedules and budgets."""
    st.markdown(
        "What happened to the orders is replayed under other schedules: how many calls each makes, and how late it "
        "notices; nothing is changed live. It rests on what looks and webhooks showed: where a finish is not known "
        "exactly, it is drawn from the time it must lie in."
    )
    arguments = chosen_plan()
    if st.button("Replay", key="replay", icon=":material/science:", type="primary"):
        st.session_state["replayed"] = arguments
    wanted = st.session_state.get("replayed")
    if wanted is None:
        st.caption("A replay takes up to some minutes of a processor, in a process of its own.")
        return
    with st.spinner("Replaying"):
        told = shared.replanned(wanted)
    show_replay(told)
    if wanted != arguments:
        st.caption("What is chosen above has changed since; Replay computes it anew.")


def chosen_plan() -> tuple[str, ...]:
    """The arguments of the replay as chosen: for how long, and what to try in place of today's settings."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        span = st.selectbox("History", list(REPLAYED), key="replay_span", index=1, width=140)
        plan = st.selectbox("Plan to try", list(TRIED), key="replay_plan", width=260)
        option, label, usual = TRIED[plan]
        arguments = ["--frontier", "--since", REPLAYED[span], *PLAN_WORDS[plan]]
        if option:
            value = st.number_input(label, 1.0, 3600.0, usual, key=f"replay_{option}", width=160)
            arguments += [f"--{option}", f"{value:g}"]
        if plan != NOTHING_TRIED:
            usual_rate = float(shared.settings().api_max_rate)
            rate = st.number_input("Calls a second, at most", 0.01, 1000.0, usual_rate, key="replay_rate", width=190)
            arguments += ["--rate", f"{rate:g}"]
    return tuple(arguments)


def show_replay(told: dict[str, Any]) -> None:
    """The sentences, the chart and the table."""
    first, *rest = (shared.escape(line) for line in told["said"])
    st.markdown("  \n".join([f"**{first}**", *rest]))
    st.caption(" ".join(shared.escape(line) for line in told["basis"]))
    which = st.segmented_control("Delay", list(DELAYS), key="replay_delay", default="mean", required=True)
    name, words = which or "mean", DELAYS[which or "mean"]
    points = replay_points(told)
    drawn = points.assign(delay=points[name], least=points[f"{name}_least"], most=points[f"{name}_most"])
    drawn = drawn.dropna(subset=["calls_an_hour"])
    shared.chart(charts.frontier(drawn, name=words), "frontier", f"Calls an hour against the {words}, by plan")
    st.caption("Left is cheaper, down is sooner. A line is one policy; the bar on today is the range that looks leave.")
    with st.expander("As a table", key="frontier_table"):
        config = {"plan": "Plan", "setting": "Setting"} | {
            column: st.column_config.NumberColumn(header, format="%.1f") for column, header in REPLAY_HEADERS.items()
        }
        st.dataframe(
            points, hide_index=True, column_config=config, alt="Plans with calls an hour and delays in seconds"
        )


def replay_points(told: dict[str, Any]) -> pd.DataFrame:
    """What really happened, today's settings replayed, the plan that was tried, and the frontier: a row each."""
    really = told["really"]
    figures = {f"{name}_{end}": really[name][end] for name in DELAYS for end in ("least", "most")}
    rows = [{"plan": "today", "setting": "as it happened", "calls_an_hour": really["calls_an_hour"]} | figures]
    rows[0] |= {name: really[name]["value"] for name in (*DELAYS, "longest")}
    ours = told["today"]
    named = [("today, replayed", ours), ("tried", told["tried"]), ("accrual", ours)]
    named += [(point["policy"], point) for point in told["frontier"]]
    rows += [dict(point) | {"plan": plan} for plan, point in named if point]
    return pd.DataFrame(rows, columns=["plan", "setting", *REPLAY_HEADERS]).drop_duplicates(ignore_index=True)


SECTIONS = {"callbacks": callbacks, "calls": calls, "events": log, "files": files, "schedule": schedule}

st.title("Activity")
section = st.segmented_control(
    "What",
    list(SECTIONS),
    key="what",
    bind="query-params",
    default="callbacks",
    required=True,
)
if st.button("Refresh", key="refresh", icon=":material/refresh:"):
    st.rerun()
with shared.told():
    SECTIONS[section or "callbacks"]()
