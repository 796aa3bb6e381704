"""Navigation, and above each page the frame."""

import streamlit as st

import arrival
import elements
import frame
import navigation
import recording
import refreshed
import session
import sign_in
import times
from tracking.storage.reading.time_limits import ASKED_SECONDS, time_limit

st.set_page_config(page_title="Fulfillment Tracking", page_icon="📦", layout="wide")
st.logo(":material/package_2:", size="small")

page = st.navigation(
    navigation.sections(),
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
