"""The row above every page: which provider, the search, what needs a decision, health, times, and who acts."""

from collections.abc import Sequence
from dataclasses import replace

import streamlit as st

import actors
import cached
import elements
import navigation
import recording
import refreshed
import session
import times
from charts.palette import DARK
from tracking.app.environment import EnvironmentKind
from tracking.errors import TooSlow
from tracking.orders.observations import utc_now
from tracking.reports import banners, health
from tracking.reports.banners import Banner
from tracking.reports.health import Level
from tracking.reports.order_list import search
from tracking.reports.order_list.view_counts import ViewCount

ENVIRONMENT_BADGES = {
    EnvironmentKind.SANDBOX: (":material/science:", "orange", "Simulated provider: no real orders, no real money."),
    EnvironmentKind.TEST: (":material/labs:", "violet", "A test account, by its address: orders should cost nothing."),
    EnvironmentKind.LIVE: (":material/bolt:", "red", "The live provider: orders are real and cost money."),
}
BANNERS_SHOWN = 2
# What Streamlit has no way for: by night a primary button is light, and white on it is hard to read. Paper stays white,
# and what is written beside a chart has to be read on it.
STYLE_OF_DARK = (
    "<style>button[kind='primary']:enabled { color: black; } "
    "@media print { .js-plotly-plot :is([class*=tick], .annotation) text { fill: #76808a !important; } }</style>"
)
# On paper nobody searches, presses or chooses, and no row or chart is to be cut in two.
STYLE_OF_PRINT = """<style>@media print {
[data-testid=stHeader], .st-key-find, .st-key-open_search, .st-key-times, .st-key-who, [data-testid=stButton],
[data-testid=stMenuButton], [data-testid=stDownloadButton] { display: none; }
tr, [data-testid=stPlotlyChart] { break-inside: avoid; }
}</style>"""
FOR_SCREEN_READERS = "position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%)"
OLD = ":material/hourglass_disabled:"  # of what could not be read in time
HEALTH_COLORS = {Level.SUCCESS: "green", Level.INFO: "green", Level.WARNING: "orange", Level.ERROR: "red"}
DRAW = {Level.ERROR: st.error, Level.WARNING: st.warning, Level.INFO: st.info}
LONGEST_SEARCH = 200
COUNTS_WIDTH, UNAPPROVED_WIDTH = 345, 85
SEARCH = "Any ID, product, recipient, note"


def draw(title: str, *, search_too: bool = True) -> None:
    """Draw the row, and below it the banners; a wall board, which nobody types at, does without the search.

    The page's title is a heading for screen readers alone: who sees the page reads it in the navigation above.
    """
    with st.container(gap="xsmall"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small", key="frame"):
            _environment()
            if search_too:
                _search_field()
            with st.container(width="content"):  # a part that draws itself would give way to what follows, and be cut
                status()
            if not search_too:  # else the search takes what room there is
                st.space("stretch")
            _times_menu()
            _person()
            st.html(f"<h1 style='{FOR_SCREEN_READERS}'>{title}</h1>", width="content")
            st.html(STYLE_OF_PRINT)
            if elements.palette() is DARK:
                st.html(STYLE_OF_DARK)
        troubles()


def _environment() -> None:
    environment = session.environment()
    icon, color, meaning = ENVIRONMENT_BADGES[environment.kind]
    label = f"{environment.kind} · {elements.escape(environment.host)}"
    st.badge(label, icon=icon, color=color, help=meaning)  # type: ignore[arg-type]  # its type holds only its colours


def _search_field() -> None:
    with st.container(horizontal=True, gap="small", wrap=False):
        st.text_input(
            "Search orders", key="find", type="search", placeholder=SEARCH, icon=":material/search:",
            label_visibility="collapsed", on_change=_remember_search, args=("find",), width="stretch",
        )  # fmt: skip
        asked = st.button("Find", key="open_search", type="tertiary", shortcut="Ctrl+K", help="Find an order")
    if asked:
        _search_dialog()
    if (text := st.session_state.pop("search_for", None)) is not None:
        _open_match(text)


def _remember_search(key: str) -> None:
    st.session_state["search_for"] = (st.session_state[key] or "").strip()
    st.session_state[key] = ""


def _open_match(text: str) -> None:
    """Open the one order that is meant, else the list of those that match."""
    if not text:
        return
    if len(text) > LONGEST_SEARCH:
        # Not a limit of the field: a browser drops a longer text that is pasted, without a word.
        st.toast(
            f"Nothing was searched: {len(text):,} characters, at most {LONGEST_SEARCH}.", icon=":material/search_off:"
        )
        return
    with elements.error_box():
        try:
            matches = search.find_po_numbers(session.database(), text)
        except TooSlow:  # the list says how to narrow it
            matches = []
    if len(matches) == 1:
        recording.search(text, 1)
        st.switch_page("order.py", query_params={"order": matches[0]})
    st.switch_page("orders.py", query_params={"q": text})


@elements.dialog("Find an order", icon=":material/search:")
def _search_dialog() -> None:
    with st.form("find_order", border=False):
        text = st.text_input(SEARCH, key="find_in_dialog", placeholder="All of it, or a part")
        if st.form_submit_button("Find", type="primary", icon=":material/search:"):
            _open_match(text.strip())


@elements.live("5s", "status")
def status() -> None:
    """How many orders need a decision or are late, each with the way to them, and the health in one word."""
    (attention, late, asleep, components), unapproved = cached.status(), cached.unapproved()
    width = COUNTS_WIDTH + (UNAPPROVED_WIDTH if unapproved.orders else 0)
    help_text = f"{asleep} snoozed: they wait, and are not counted here." if asleep.orders else None
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="counts", width=width):
        _count(
            attention, "need a decision", "needs a decision", ":material/front_hand:", {"view": "attention"}, help_text
        )
        _count(late, "late", "late", ":material/schedule:", {"view": "late", "each": "true"}, help_text)
        if unapproved.orders:
            _count(unapproved, "to approve", "to approve", ":material/approval:", {"view": "approval"}, None)
        _health(components)


def _count(number: ViewCount, many: str, one: str, icon: str, query: dict[str, str], help_text: str | None) -> None:
    text = f"{number} {one if number.orders == 1 else many}"
    label = f"**{text}**" if number.orders else text
    navigation.link("orders.py", label, icon=icon, query=query, help_text=help_text)


def _health(components: Sequence[health.ComponentStatus]) -> None:
    word, level = health.summary(components, (banner.level for banner in _banners()))
    as_of = refreshed.as_of("status")
    color, sign, age = (HEALTH_COLORS[level], "●", "") if as_of is None else ("orange", OLD, ", old")
    with st.popover(f":{color}-badge[{sign} {word}{age}]", key="health", type="tertiary", width="content"):
        if as_of is not None:
            st.caption(f"Not refreshed in time: what this page shows is as of {times.text(as_of)} or later.")
        # One text: an element for each word of it would be a tenth of what every page draws every five seconds.
        st.markdown("  \n".join([*map(_component_line, components), _component_line(_database_size())]))


def _database_size() -> health.ComponentStatus:
    """How much is stored; what takes too long to read is no trouble, and left out until it is read."""
    try:
        text = str(cached.stored())
    except TooSlow:
        text = "not measured in time; it is tried again by itself"
    return health.ComponentStatus("Database", None, text)


def _component_line(component: health.ComponentStatus) -> str:
    dot = "orange" if component.worrying else "green"
    return f":{dot}[●] **{component.name}** :small[:gray[{elements.escape(component.text)}]]"


def _times_menu() -> None:
    local = times.local_name()
    labels = {
        "UTC": "UTC",
        "local": f"Local time ({local.replace('_', ' ')})" if local else "Local time (your browser names no zone)",
        "relative": "Relative (5 min ago)",
    }
    now = "Relative" if times.display() == "relative" else times.zone_label()
    chosen = st.menu_button(
        now, list(labels), key="times", type="tertiary", format_func=lambda name: labels[name],
        help="How times are shown",
    )  # fmt: skip
    if chosen and chosen != times.display():
        with elements.error_box():
            session.save_preferences(replace(session.preferences(), times=chosen))
        st.rerun()


def _person() -> None:
    person = session.current_person()
    name = person.name if person else session.preferences().name
    label = elements.escape(name) if name else "Who are you?"
    with st.popover(label, key="who", icon=":material/person:", type="tertiary", width="content"):
        if person:
            st.text(f"{person.name}, {person.access}")
            st.button("Sign out", key="sign_out", icon=":material/logout:", on_click=st.logout)
            return
        with st.form("rename", border=False):
            text = st.text_input("Your name", value=name, key="name_of_who_acts", max_chars=actors.LONGEST_NAME)
            st.caption("Recorded with everything you do. Nobody signs in here, so it is what you say it is.")
            if st.form_submit_button("Save") and text.strip():
                actors.rename(text)
                st.rerun()


def _banners() -> list[Banner]:
    store = banners.store_banners(session.database().trouble)
    settings = session.settings()
    store += banners.approval_banners(off=bool(settings.approval_above and not settings.approval_limit))
    return store + banners.health_banners(cached.health(), cached.late_orders(), utc_now())


@elements.live("10s", "troubles")
def troubles() -> None:
    """What is wrong right now: one line each, two at the most, the rest behind a button."""
    current = _banners()
    with st.container(gap="xsmall", key="banners"):
        for number, banner in enumerate(current[:BANNERS_SHOWN]):
            _banner(banner, f"banner_{number}")
        if rest := current[BANNERS_SHOWN:]:
            with st.popover(f"+{len(rest)} more", key="more_banners", type="tertiary"):
                for number, banner in enumerate(rest):
                    _banner(banner, f"more_banner_{number}")


def _banner(banner: Banner, key: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key=key):
        DRAW[banner.level](elements.escape(banner.text), icon=f":material/{banner.icon}:", width="stretch")
        if banner.details:
            with st.popover("Details", key=f"{key}_details", type="tertiary", width="content"):
                st.markdown(elements.escape(banner.details))
        if banner.orders is not None:
            icon = ":material/arrow_forward:"
            navigation.link("orders.py", "View orders", icon=icon, query=dict(banner.orders))
        if banner.logs is not None:
            icon = ":material/arrow_forward:"
            navigation.link("logs.py", "View log", icon=icon, query=dict(banner.logs))
