"""Show me: a menu of what the embedded sandbox can be made to do. Draws nothing with a real provider."""

from functools import partial

import streamlit as st

import actors
import elements
import session
from tracking.access import Person
from tracking.app.embedded_sandbox import running_sandbox
from tracking.errors import TooSlow
from tracking.orders import wording
from tracking.orders.observations import utc_now
from tracking.reports.team.drills import running_drill

ICONS = {
    "bulk": ":material/stacks:",
    "timeout": ":material/hourglass_disabled:",
    "outage": ":material/cloud_off:",
    "silence": ":material/notifications_off:",
    "duplicates": ":material/content_copy:",
    "late": ":material/groups:",
}


def choices() -> None:
    """The menu, with a few words for each scenario, and what is switched on."""
    if not session.settings().embedded_sandbox or running_sandbox() is None:
        return
    from tracking.app.demonstration import scenarios  # noqa: PLC0415 - no page of a real provider waits for it

    by_name = {scenario.name: scenario for scenario in scenarios.SCENARIOS}
    chosen = st.menu_button(
        "Show me",
        list(by_name),
        key="show_me",
        icon=":material/play_circle:",
        help="Make the sandbox do something, and see what the console makes of it",
        format_func=lambda name: f"{ICONS[name]} **{by_name[name].title}**: {by_name[name].summary}",
    )
    _lasting()
    if chosen:
        actors.act(f"Show me: {by_name[chosen].title.lower()}", partial(_start, chosen))


@elements.live("5s", "show_me_lasting")
def _lasting() -> None:
    """What is switched on, and for how long; nothing of a drill that is kept from the team."""
    from tracking.app.demonstration import scenarios  # noqa: PLC0415 - as above

    try:
        drill = running_drill(session.database())
    except TooSlow:  # where nothing is switched on nothing stands here, and so nothing moves
        return
    if drill is not None and drill.is_secret:
        return
    for name, left in scenarios.remaining(utc_now()).items():
        st.badge(f"{scenarios.TITLES[name]}: another {wording.duration(left)}", icon=ICONS[name], color="orange")


def _start(name: str, person: Person) -> None:
    """Start one, say what happens, and go to where it is seen."""
    from tracking.app.demonstration import scenarios  # noqa: PLC0415 - as above

    started = scenarios.start(name, session.database(), by=person, now=utc_now())
    st.session_state["toast"] = started.message
    st.switch_page(f"{started.page}.py", query_params=dict(started.params))
