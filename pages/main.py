"""Navigation, and what every page shows: who is signed in, the sandbox banner and what is wrong right now."""

from collections.abc import Iterable

import streamlit as st

import cached
import elements
import session
import sign_in
from tracking.orders.observations import utc_now
from tracking.reports import banners
from tracking.reports.banners import Banner
from tracking.reports.health import Level

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
            "order.py",
            title="Timeline",
            icon=":material/timeline:",
            url_path="timeline",
            help="One order: what is known of it, what proves it, what to do next.",
        ),
        st.Page(
            "new_order.py",
            title="Submit",
            icon=":material/add_shopping_cart:",
            url_path="submit",
            help="Place one order by form, or many by a CSV file.",
        ),
        st.Page(
            "logs.py",
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


DRAW = {Level.ERROR: st.error, Level.WARNING: st.warning, Level.INFO: st.info}


def show_banners(current: Iterable[Banner]) -> None:
    """Draw each banner, with the way to the orders that it is about."""
    for banner in current:
        with st.container(gap="xsmall"):
            text = elements.escape(f"{banner.text}. {banner.details or ''}".strip())
            DRAW[banner.level](text, icon=f":material/{banner.icon}:")
            if banner.orders is not None:
                icon = ":material/arrow_forward:"
                st.page_link("orders.py", label="Show them", icon=icon, query_params=dict(banner.orders))


@st.fragment(run_every="10s", key="troubles")
def troubles() -> None:
    """Says what is wrong with the store, with the provider or with the loops of this console."""
    show_banners(banners.store_banners(session.database().trouble))
    with elements.error_box():
        show_banners(banners.health_banners(cached.health(), cached.late_orders(), utc_now()))


troubles()
st.session_state["entered"] = st.session_state.get("at_page") != page.url_path
st.session_state["at_page"] = page.url_path
page.run()
