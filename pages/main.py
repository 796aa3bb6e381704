"""Navigation, and above each page the frame."""

import contextlib

import streamlit as st

import arrival
import elements
import frame
import recording
import refreshed
import session
import sign_in
import times
from tracking.errors import TrackingError
from tracking.storage.reading.time_limits import ASKED_SECONDS, time_limit

st.set_page_config(page_title="Fulfillment Tracking", page_icon="📦", layout="wide")
st.logo(":material/package_2:", size="small")

PAGES = [
    st.Page(
        "overview.py",
        title="Overview",
        icon=":material/dashboard:",
        default=True,
        help="What is open, what is late and what needs a decision.",
    ),
    st.Page(
        "orders.py",
        title="Orders",
        icon=":material/list_alt:",
        url_path="orders",
        help="Find any order by any id, filter, sort and export.",
    ),
    st.Page(
        "order.py",
        title="Order",
        icon=":material/timeline:",
        url_path="timeline",
        visibility="hidden",
        help="One order: where it stands, what proves it, what to do next.",
    ),
    st.Page(
        "new_order.py",
        title="New order",
        icon=":material/add_shopping_cart:",
        url_path="submit",
        help="Place one order by form, or many by a CSV file.",
    ),
    st.Page(
        "logs.py",
        title="Logs",
        icon=":material/history:",
        url_path="activity",
        help="Webhooks received, API calls made, and everything that happened.",
    ),
    st.Page("insights.py", title="Insights", icon=":material/insights:", url_path="insights"),
]
TEAM = [
    st.Page(
        "jobs.py",
        title="Jobs",
        icon=":material/checklist:",
        url_path="jobs",
        help="Acts on many orders: how far each is, by whom, and what it touched.",
    ),
    st.Page(
        "imports.py",
        title="Imports",
        icon=":material/upload_file:",
        url_path="imports",
        help="The files that were uploaded, and how far their orders are.",
    ),
    st.Page(
        "audit.py",
        title="Audit log",
        icon=":material/policy:",
        url_path="audit",
        help="Who did what, exported what and searched for what.",
    ),
    st.Page(
        "handover.py",
        title="Handover",
        icon=":material/sync_alt:",
        url_path="handover",
        help="What one shift hands on to the next.",
    ),
]
DRILLS = st.Page(
    "drills.py",
    title="Fire drill",
    icon=":material/local_fire_department:",
    url_path="drills",
    help="Have something go wrong at the sandbox, and time how the team reacts.",
)
with contextlib.suppress(TrackingError):  # settings that cannot be used are told of below
    TEAM += [DRILLS] if session.settings().embedded_sandbox else []
page = st.navigation(
    {"": PAGES, "Team": TEAM},
    # Streamlit has to know the pages to keep an address that somebody opened; who is not in sees no way to them.
    position="top" if sign_in.is_open() else "hidden",
)

arrival.note(page)
sign_in.require_sign_in()
with elements.error_box():
    session.database()
    recording.sign_in()

times.apply()
st.session_state["in_dialog"] = False  # a run of the whole page closes the one that was open, and may open another
frame.draw(page.title, search_too="board" not in st.query_params)
st.session_state["entered"] = st.session_state.get("at_page") != page.url_path
st.session_state["at_page"] = page.url_path
refreshed.begin()
elements.show_toast()
# Of a link to the page that is open Streamlit passes the parameters on, and leaves them out of the browser's address;
# an update, of nothing, sends them there.
parameters = {name: st.query_params.get_all(name) for name in st.query_params}
if not st.session_state["entered"] and st.session_state.get("parameters") != parameters:
    st.query_params.update({})
st.session_state["parameters"] = parameters
try:
    with time_limit(ASKED_SECONDS):
        page.run()
finally:
    st.session_state["toast_of_this_run"] = None
refreshed.note("page")
