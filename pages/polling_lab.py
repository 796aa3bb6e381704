"""The polling lab: the recorded history replayed under other plans, in the background, calls against delay."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

import cached
import elements
import session
import times
from charts import insights as charts
from tracking.orders import wording
from tracking.orders.observations import utc_now
from tracking.polling.backtest.process import PATIENCE, Replay

HISTORIES = {"24 hours": "24h", "7 days": "7d", "30 days": "30d"}
NO_PLAN = "None (compare policies only)"
# The option with its figure, the figure's name, and where it begins.
PLANS = {
    NO_PLAN: ("", "", 0.0),
    "Current policy": ("", "", 0.0),
    "Current policy, fixed price": ("price", "Price of a call, s", 10.0),
    "Doubling waits": ("ceiling", "Longest wait, s", 60.0),
    "Fixed wait": ("wait", "Wait, s", 60.0),
}
POLICIES = dict(zip(PLANS, ("", "accrual", "accrual", "doubling", "fixed"), strict=True))
RATE = "Calls a second, at most"
DELAYS = {"mean": "Mean delay", "p95": "p95 delay"}
HEADERS = {
    "calls_an_hour": "Calls/h", "mean": "Mean, s", "mean_least": "at least, s", "mean_most": "at most, s",
    "p95": "p95, s", "p95_least": "p95 at least, s", "p95_most": "p95 at most, s", "longest": "Longest, s",
}  # fmt: skip


def lab() -> None:
    """What another polling plan would have cost and brought; nothing is changed live."""
    st.markdown(
        "What would another polling plan have cost? The recorded history is replayed under other plans: how many API "
        "calls each makes, and how late it detects completions. Nothing is changed live.",
        help="It rests on what polls and webhooks showed: where a completion time is not known exactly, it is drawn "
        "from the time it must lie in.",
    )
    arguments = chosen_plan()
    latest = st.session_state.get("replayed")
    if latest is None and cached.replays().find(arguments):
        latest = arguments  # asked for in another tab, or before this page was left
    replay = cached.replays().find(latest) if latest else None
    if replay is None:
        st.caption(f"Runs in the background; may take a few minutes, at most {PATIENCE / 60:.0f}.")
    elif not replay.ended.is_set():
        progress(replay)
    elif replay.problem is not None:
        with elements.error_box():
            raise replay.problem
    elif replay.result is not None:
        result(replay.result)
        changed = " What is chosen above has changed since." if latest != arguments else ""
        st.caption(f"Computed {times.text(replay.started_at)}.{changed}")


def chosen_plan() -> tuple[str, ...]:
    """The arguments of the replay as chosen: for how long, and what to try in place of the current settings."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        span = st.selectbox("History", list(HISTORIES), key="replay_span", index=1, width=130)
        plan = st.selectbox("Plan to try", list(PLANS), key="replay_plan", width=270)
        option, label, usual = PLANS[plan]
        wrong = None
        arguments = ["--frontier", "--since", HISTORIES[span]]
        arguments += ["--policy", POLICIES[plan]] if POLICIES[plan] else []
        if option:
            value = st.number_input(label, value=usual, key=f"replay_{option}", width=160)
            wrong = elements.out_of_bounds(label, value, 1, 3600)
            arguments += [f"--{option}", f"{value:g}"]
        if plan != NO_PLAN:
            usual_rate = float(session.settings().api_max_rate)
            rate = st.number_input(RATE, value=usual_rate, key="replay_rate", width=190)
            wrong = wrong or elements.out_of_bounds(RATE, rate, 0.01, 1000)
            arguments += ["--rate", f"{rate:g}"]
        chosen = tuple(arguments)
        if st.button("Replay", key="replay", icon=":material/science:", disabled=bool(wrong), help=wrong):
            elements.attempt(lambda: cached.replays().start(chosen, utc_now()))
            st.session_state["replayed"] = chosen
    if wrong:
        st.error(wrong, icon=":material/error:")
    return chosen


@elements.live("1s", "replay_progress")
def progress(replay: Replay) -> None:
    """Says for how long the replay has been running; when it has ended, the page shows what came of it."""
    if replay.ended.is_set():
        st.rerun()
    running = wording.duration(utc_now() - replay.started_at)
    with st.container(height=56, border=False):
        st.info(f"Replaying for {running}. You may leave this page: it goes on.", icon=":material/hourglass_top:")


def result(backtest: Mapping[str, Any]) -> None:
    """The finding, the chart and the data."""
    finding, *more = backtest["said"]
    st.markdown(f"**{elements.escape(finding)}**")
    points = replay_points(backtest)
    with st.container(horizontal=True, vertical_alignment="center"):
        delay = st.segmented_control(
            "Delay", list(DELAYS), key="replay_delay", default="mean", required=True, format_func=DELAYS.__getitem__,
            label_visibility="collapsed",
        )  # fmt: skip
        with st.popover("Data", type="tertiary"):
            st.markdown("  \n".join(elements.escape(line) for line in more))
            st.caption(" ".join(elements.escape(line) for line in backtest["basis"]))
            config = {"plan": "Plan", "setting": "Setting"} | {
                column: st.column_config.NumberColumn(header, format="%.1f") for column, header in HEADERS.items()
            }
            named = points.assign(plan=points["plan"].replace(charts.PLAN_LABELS))
            st.dataframe(named, hide_index=True, column_config=config, alt="Plans with calls per hour and delays")
    name = delay or "mean"
    drawn = points.assign(delay=points[name], least=points[f"{name}_least"], most=points[f"{name}_most"])
    drawn = drawn.dropna(subset=["calls_an_hour"])
    figure = charts.frontier(drawn, name=DELAYS[name].lower(), palette=elements.palette())
    elements.chart(figure, "frontier", f"Calls per hour against {DELAYS[name].lower()}, by plan. {finding}")
    st.caption(
        "Left is cheaper, down is sooner. A line is one policy; the bar shows the uncertainty. “now” is measured: the "
        "calls and detections on record, with the settings, pauses and failures there were. “now, replayed” polls the "
        "same orders with the current settings throughout, and no call fails: the two differ where other settings "
        "were in force or polling stood still. Compare other plans with “now, replayed”."
    )


def replay_points(backtest: Mapping[str, Any]) -> pd.DataFrame:
    """What really happened, the current settings replayed, the plan that was tried, and the frontier: a row each."""
    actual = backtest["really"]
    figures = {f"{name}_{end}": actual[name][end] for name in DELAYS for end in ("least", "most")}
    rows = [{"plan": "today", "setting": "as it happened", "calls_an_hour": actual["calls_an_hour"]} | figures]
    rows[0] |= {name: actual[name]["value"] for name in (*DELAYS, "longest")}
    ours = backtest["today"]
    named = [("today, replayed", ours), ("tried", backtest["tried"]), ("accrual", ours)]
    named += [(point["policy"], point) for point in backtest["frontier"]]
    rows += [dict(point) | {"plan": plan} for plan, point in named if point]
    return pd.DataFrame(rows, columns=["plan", "setting", *HEADERS]).drop_duplicates(ignore_index=True)
