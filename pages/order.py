"""One order as a story: what is so and what proves it, what can be done, and how it came about."""

import streamlit as st

import as_of
import drill_watch
import elements
import hook_deliveries
import order_acts
import order_claims
import order_evidence
import order_head
import order_lines
import order_story
import order_work
import recording
import session
from tracking.orders import wording
from tracking.orders.observations import utc_now
from tracking.reports import order as reports_order
from tracking.reports.order_page import verdicts
from tracking.reports.order_page.verdicts import OrderView

# On paper nobody goes to another order or opens another part.
STYLE_OF_PRINT = """<style>@media print {
.st-key-way a, .st-key-why, [class*=st-key-show_] { display: none; }
}</style>"""
# What the page can show below its chart, by the word in its address.
PARTS = {"summary": "Summary", "events": "All events", "lines": "Lines", "calls": "API calls", "raw": "Raw"}


def draw_missing(any_id: str, *, several: bool) -> None:
    """Says that no order, or more than one, has this id, and offers the search."""
    text = f"{'Several orders match' if several else 'No order matches'} “{any_id}”."
    st.warning(elements.escape(text), icon=":material/search_off:")
    label = "Search for it as a part of an ID"
    st.page_link("orders.py", label=label, icon=":material/search:", query_params={"q": any_id})


def picked_part(view: OrderView) -> str:
    """Which part is shown, as the address says, also after Back; the numbers in the labels are no part of it."""
    key, numbers = f"show_{view.id}", {"events": view.event_count, "lines": view.line_count}
    address = st.query_params.get("show", "summary")
    if address in PARTS and st.session_state.get(f"{key}_address") != address:
        st.session_state[key] = st.session_state[f"{key}_address"] = address

    def remember() -> None:
        st.query_params["show"] = st.session_state[f"{key}_address"] = st.session_state[key]

    part = st.segmented_control(
        "Show",
        list(PARTS),
        key=key,
        required=True,
        on_change=remember,
        format_func=lambda name: f"{PARTS[name]} {numbers[name]:,}" if name in numbers else PARTS[name],
        label_visibility="collapsed",
    )
    return part or "summary"


def draw_parts(view: OrderView) -> None:
    """The chart, and one of the parts below it."""
    order_story.draw_charts(view.order, view.id)
    draw = {
        "summary": order_story.draw_summary,
        "events": order_story.draw_events,
        "lines": draw_lines,
        "calls": order_evidence.draw_calls,
        "raw": order_evidence.draw_raw,
    }
    draw[picked_part(view)](view)


def draw_lines(view: OrderView) -> None:
    """The lines, and the claim data of one unit."""
    order_lines.draw(view)
    order_claims.draw(view)


def draw_order(order_id: int) -> None:
    """The page of the order."""
    view = verdicts.order_view(session.database(), order_id, utc_now())
    drill_watch.opened([view.order.po_number])
    st.html(STYLE_OF_PRINT)
    order_head.draw_way(view)
    with st.container(horizontal=True, vertical_alignment="center", key="acts"):
        order_head.draw_identity(view)
        st.space("stretch")
        order_acts.draw(view)
    order_work.draw(view)
    order_head.draw_decision(view)
    order_head.draw_cards(view)
    order_evidence.draw_why(view)
    draw_parts(view)
    hook_deliveries.draw_of_order(view.id)


any_id = wording.plain(st.query_params.get("order", "")).strip()
if not any_id:
    st.caption("Search for an order above, or open one from the list.")
    st.page_link("orders.py", label="All orders", icon=":material/list_alt:", query_params={"view": "all"})
    st.stop()
with elements.error_box():
    matches = reports_order.find_order_ids(session.database(), any_id)
    if (
        reports_order.id_of_order(session.database(), any_id) is None
    ):  # an address may look up a person as a search does
        recording.search(any_id, len(matches), more=len(matches) > 1)
    if len(matches) == 1 and (moment := as_of.asked()) is not None:
        as_of.draw_order(matches[0], moment)
    elif len(matches) == 1:
        draw_order(matches[0])
    else:
        draw_missing(any_id, several=bool(matches))
