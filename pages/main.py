"""Navigation, and what every page shows: who is signed in, the sandbox banner and what is wrong right now."""

import streamlit as st

import cached
import elements
import session
import sign_in
from tracking.forecasting import incidents
from tracking.orders import wording
from tracking.orders.observations import utc_now
from tracking.reports import explanations

st.set_page_config(page_title="Fulfillment Tracking", page_icon="📦", layout="wide")

page = st.navigation(
    [
        st.Page(
            "overview.py",
            title="Overview",
            icon=":material/dashboard:",
            default=True,
            help="What is open, what is late, what needs a person, and how the console itself is doing.",
        ),
        st.Page(
            "orders.py",
            title="Orders",
            icon=":material/list_alt:",
            url_path="orders",
            help="Find any order by any id, filter, sort and export.",
        ),
        st.Page(
            "timeline.py",
            title="Timeline",
            icon=":material/timeline:",
            url_path="timeline",
            help="One order: what is known of it, what proves it, what to do next.",
        ),
        st.Page(
            "submit.py",
            title="Submit",
            icon=":material/add_shopping_cart:",
            url_path="submit",
            help="Place one order by form, or many by a CSV file.",
        ),
        st.Page(
            "activity.py",
            title="Activity",
            icon=":material/history:",
            url_path="activity",
            help="Callbacks received, calls made, and everything that happened.",
        ),
    ],
    # Streamlit has to know the pages to keep an address that somebody opened; who is not in sees no way to them.
    position="top" if sign_in.is_open() else "hidden",
)

person = sign_in.require_sign_in()
with elements.error_box():
    settings = session.settings()
    session.database()

if person:
    sign_in.show_person(person)
if settings.embedded_sandbox:
    st.warning("Sandbox: simulated provider, no real orders.", icon=":material/science:")


def late_together(incident: incidents.Incident) -> None:
    """One banner in place of a row for each of them."""
    summary = elements.escape(explanations.incident_text(incident, utc_now()))
    with st.container(gap="xsmall"):
        st.warning(
            f"{summary} It is not one order, it is everyone: ask the provider once.",
            title="Many orders are late together",
            icon=":material/groups:",
        )
        st.page_link(
            "orders.py", label="Show them", icon=":material/arrow_forward:",
            query_params={"view": "late", "each": "true", "from": incident.first.isoformat()},
        )  # fmt: skip


@st.fragment(run_every="10s", key="troubles")
def troubles() -> None:
    """Says what is wrong with the store, with the provider or with the loops of this console."""
    if trouble := session.database().trouble:
        st.error(
            f"{elements.escape(trouble[0].upper() + trouble[1:])}. Until then nothing is taken in and nothing is sent.",
            title="The store cannot be written",
            icon=":material/save:",
        )
    with elements.error_box():
        health, together = cached.health(), cached.incidents()
    for incident in together:
        late_together(incident)
    if (mark := health.restored) is not None:
        at = wording.clock(mark.taken_at, utc_now())
        waits = f" It waits for the provider: {elements.escape(mark.trouble)}." if mark.trouble else ""
        st.warning(
            f"It is as it was at {at} UTC. The provider is asked what was sent since; orders are sent again once that "
            f"is known. Looks and callbacks go on.{waits}",
            title="This store was restored from a backup and is being reconciled",
            icon=":material/settings_backup_restore:",
        )
    if health.wal_bytes:
        st.warning(
            f"Its write-ahead log has grown to {health.wal_bytes // 2**20} MB. End the program that reads it for so "
            "long: a copy, a backup, a SQL shell.",
            title="Something holds the store",
            icon=":material/hourglass_top:",
        )
    if health.refused:
        st.error(
            "Check TRACKING_API_EMAIL and TRACKING_API_ACCESS_TOKEN, or ask the provider; then start again.",
            title="The provider refuses the credentials",
            icon=":material/key_off:",
        )
    if health.unreachable_since:
        at = wording.clock(health.unreachable_since, utc_now())
        st.error(
            f"No answer since {at} UTC, {elements.ago(health.unreachable_since)}. "
            "Orders wait and go out by themselves.",
            title="The provider cannot be reached",
            icon=":material/cloud_off:",
        )
    if health.paused_until:
        until = wording.clock(health.paused_until, utc_now())
        st.info(f"The provider asked for a pause; calls go on at {until} UTC.", icon=":material/pause:")
    if (alarm := health.webhooks) is not None and alarm.ended_at is None:
        since = wording.clock(alarm.since, utc_now())
        st.warning(
            f"The last one came at {since} UTC; since then {wording.count(alarm.missed, 'order')} of ours finished "
            "without one. Orders are looked at as if none would come. See whether the provider still reaches "
            "TRACKING_PUBLIC_URL.",
            title="The webhooks are silent",
            icon=":material/notifications_off:",
        )
    elif alarm is not None and alarm.ended_at is not None:
        since, ended = (wording.clock(moment, utc_now()) for moment in (alarm.since, alarm.ended_at))
        st.info(
            f"Webhooks are heard again: they were silent from {since} to {ended} UTC.", icon=":material/notifications:"
        )
    if health.silent:
        st.error(
            f"No sign of life for over a minute from: {', '.join(health.silent)}. See the log of that process.",
            title="A loop is silent",
            icon=":material/heart_broken:",
        )


troubles()
st.session_state["entered"] = st.session_state.get("at_page") != page.url_path
st.session_state["at_page"] = page.url_path
page.run()
