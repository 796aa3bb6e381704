"""Fire drills on the embedded sandbox: start one, watch how the team reacts, and how it did before."""

from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

import actors
import cached
import elements
import session
import show_me
import times
from tracking.access import Person
from tracking.app.demonstration import scenarios
from tracking.orders import wording
from tracking.orders.observations import utc_now
from tracking.reports.team.drills import Drill, Step, last_like, newest_drills
from tracking.team import drills

TITLES = scenarios.TITLES
UNNAMED = "Not named"
STEPS = {
    Step.OPENED: ("First seen", "Somebody opened an affected order, or a list that shows one."),
    Step.ACTED: ("First act", "Somebody did something with an affected order: a poll, a note, an acknowledgement."),
    Step.SETTLED: ("Settled", "No affected order needs a decision, is unconfirmed, unsent or late any more."),
    Step.INFORMED: ("Customers told", "The button below, or an acknowledgement whose reason says so."),
}
ROW_HEIGHT, METRIC_HEIGHT = 30, 132


def title(drill: Drill) -> str:
    """Which scenario it is, where it may be told."""
    return UNNAMED if drill.is_secret else TITLES.get(drill.scenario, drill.scenario)


@elements.live("3s", "drill")
def current() -> None:
    """The drill that runs, or the newest one with its scorecard; and what can be done now."""
    past = newest_drills(session.database())
    drill = past[0] if past else None
    if drill is not None:
        scorecard(drill, None if drill.is_secret else last_like(drill, past), utc_now())
    if drill is not None and drill.ended_at is None:
        acts(drill)
    else:
        starting()
    st.subheader("Last drills", anchor=False)
    listed(past)


def scorecard(drill: Drill, before: Drill | None, now: datetime) -> None:
    """One drill: what it is, and how long each step took, against the last drill with the same scenario."""
    is_on, who = drill.ended_at is None, elements.escape(drill.started_by)
    st.subheader(elements.escape(f"{'Running' if is_on else 'Newest'}: {title(drill)}"), anchor=False)
    at = times.text(drill.started_at)
    over = f"for {wording.duration(now - drill.started_at)}" if is_on else "over"
    against = f"times beside those of {times.text(before.started_at)}" if before else "the first one of its kind"
    st.caption(f"Started by {who}, {at}; {over}; " + ("kept from the team" if drill.is_secret else against))
    with st.container(horizontal=True, gap="small", key="steps"):
        for step, (label, meaning) in STEPS.items():
            took, earlier = drill.took(step), before.took(step) if before else None
            st.metric(
                label,
                wording.duration(took) if took is not None else ("not yet" if is_on else "not done"),
                difference(took, earlier),
                delta_color="orange" if slower(took, earlier) else "green",
                delta_arrow="up" if slower(took, earlier) else "down",
                height=METRIC_HEIGHT,
                border=True,
                help=meaning,
                width=170,
            )


def difference(took: timedelta | None, earlier: timedelta | None) -> str | None:
    """How much faster or slower than before; None where that is nothing, or nobody knows."""
    if took is None or earlier is None or abs(took - earlier) < timedelta(seconds=1):
        return None
    return f"{wording.duration(abs(took - earlier))} {'slower' if slower(took, earlier) else 'faster'}"


def slower(took: timedelta | None, earlier: timedelta | None) -> bool:
    """Whether it took longer than before."""
    return took is not None and earlier is not None and took > earlier


def acts(drill: Drill) -> None:
    """What can be done while it runs."""
    why = session.may_not_act()
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="drill_acts"):
        is_done = Step.INFORMED in drill.at
        if st.button(
            "Customers told", key="told", icon=":material/campaign:", disabled=is_done or why is not None, help=why
        ):
            actors.act("Customers told", _record_informed)
        if st.button("End drill", key="end_drill", icon=":material/stop_circle:", disabled=why is not None, help=why):
            actors.act("End drill", _end)
        if not drill.is_secret and drill.orders:
            label = f"Its {wording.count(len(drill.orders), 'order')}"
            query = {"po": list(drill.orders)}
            st.page_link("orders.py", label=label, icon=":material/list_alt:", query_params=query, width="content")


def _record_informed(by: Person) -> None:
    drills.record_customers_informed(session.database(), by=by, now=utc_now())
    _redraw("Recorded: the customers were told.")


def _end(by: Person) -> None:
    _redraw(scenarios.end_drill(session.database(), by=by, now=utc_now()))


def _redraw(done: str) -> None:
    cached.forget_drill()
    elements.toast_after_rerun(done)


def starting() -> None:
    """Start one: a scenario that is named, or one that is not."""
    why = session.may_not_act() or _lasting()
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="drill_start"):
        name = st.selectbox(
            "Scenario",
            [None, *TITLES],
            key="drill_scenario",
            format_func=lambda name: f"{UNNAMED}: one at random" if name is None else TITLES[name],
            width=280,
        )
        if st.button(
            "Start drill", key="start_drill", icon=":material/local_fire_department:",
            disabled=why is not None, help=why,
        ):  # fmt: skip
            actors.act("Start drill", partial(_start, name))
    if name is not None:
        summary = next(scenario.summary for scenario in scenarios.SCENARIOS if scenario.name == name)
        st.caption(f"{show_me.ICONS[name]} {elements.escape(summary[0].upper() + summary[1:])}.")
    else:
        st.caption("Starts a random failure in the sandbox without saying which, to see how fast the team reacts.")


def _lasting() -> str | None:
    """What keeps a drill from being started: what was switched on before and still lasts."""
    left = [
        f"{TITLES[name]} still lasts, for another {wording.duration(wait)}"
        for name, wait in scenarios.remaining(utc_now()).items()
    ]
    for text in left:
        st.caption(f":material/hourglass: {text}. A drill can begin after that.")
    return left[0] if left else None


def _start(name: str | None, by: Person) -> None:
    scenarios.start_drill(name, session.database(), by=by, now=utc_now())
    _redraw("The drill has begun.")


def listed(past: list[Drill]) -> None:
    """The last drills, each with its times; better or worse than the one before with the same scenario."""
    if not past:
        st.caption("There was no drill yet.")
        return
    cells: dict[str, list[Any]] = {
        "started_at": [drill.started_at for drill in past],
        "scenario": [title(drill) for drill in past],
    }
    for step, (label, _) in STEPS.items():
        cells[label] = [cell(drill, last_like(drill, past), step) for drill in past]
    cells["by"] = [wording.plain(drill.started_by) for drill in past]
    st.caption("Times since the start; ↓ faster and ↑ slower than the drill before with the same scenario.")
    st.dataframe(
        pd.DataFrame(cells),
        key="drills",
        height="content",
        row_height=ROW_HEIGHT,
        hide_index=True,
        placeholder="",
        column_config={
            "started_at": times.column("Started", width=160),
            "scenario": st.column_config.TextColumn("Scenario", width=170),
            "by": st.column_config.TextColumn("By", width=150),
            **{label: st.column_config.TextColumn(label, width=150) for label, _ in STEPS.values()},
        },
        alt=f"{wording.count(len(past), 'drill')}, newest first, each with the time until it was first seen, first "
        "acted on, settled and told to customers",
    )


def cell(drill: Drill, before: Drill | None, step: Step) -> str:
    """How long a step took, with an arrow down where that was faster than before, and one up where it was slower."""
    took, earlier = drill.took(step), before.took(step) if before and not drill.is_secret else None
    if took is None:
        return "" if drill.ended_at is None else "not done"
    arrow = " ↑" if slower(took, earlier) else " ↓"
    return f"{wording.duration(took)}{arrow if difference(took, earlier) else ''}"


with elements.error_box():
    st.header("Fire drill", anchor=False)
    current()
