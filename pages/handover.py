"""Handover: what one shift hands on to the next since a time, as a page, to print, and as Markdown."""

from datetime import datetime, timedelta
from urllib.parse import urlsplit

import streamlit as st

import actors
import address
import elements
import recording
import session
import times
from tracking.orders.observations import utc_now
from tracking.reports.team import audit, handover, handover_wording
from tracking.reports.team.handover_wording import Line, Section

SIGN_IN, BEFORE, USUAL = "sign-in", "before", "8h"
OWN = {SIGN_IN: "My last sign-in", BEFORE: "My sign-in before the last"}
JUST_BEGUN = timedelta(hours=1)
SPANS = ("4h", USUAL, "12h", "24h", "3d", "7d")
PAGES = {
    "orders": "orders.py", "timeline": "order.py", "jobs": "jobs.py", "audit": "audit.py", "activity": "logs.py",
}  # fmt: skip
# On paper nobody chooses a time or copies.
STYLE_OF_PRINT = "<style>@media print { .st-key-handover_tools { display: none; } }</style>"
WIDTH = 960  # pixels: of a page that is printed, and as far as a line is easily read


def sign_ins(now: datetime) -> dict[str, datetime]:
    """The reader's last sign-in and the one before, as far as the audit log knows, by their words in the address.

    The first is the usual one: a shift that has just begun is told of the time since the sign-in before.
    """
    person = actors.current()
    if person is None or not person.signed_in:
        return {}
    times_of = dict(zip((SIGN_IN, BEFORE), handover.last_sign_ins(session.database(), person.name), strict=False))
    has_just_begun = SIGN_IN in times_of and now - times_of[SIGN_IN] < JUST_BEGUN
    return dict(reversed(times_of.items())) if has_just_begun else times_of


def start(now: datetime) -> datetime:
    """Since when, as the address says: a length before now, a time, or a sign-in of the reader's."""
    own = sign_ins(now)
    usual = next(iter(own), USUAL) if len(own) != 1 or now - own[SIGN_IN] >= JUST_BEGUN else USUAL
    value = st.query_params.get("since", usual)[:40]
    labels = {word: f"{OWN[word]} ({times.text(at, now)})" for word, at in own.items()}
    labels |= {span: f"The last {span}" for span in SPANS}
    st.selectbox(
        "Since", list(dict.fromkeys([*labels, value])), accept_new_options=True, width=320,
        format_func=lambda word: labels.get(word, f"Since {word}"), label_visibility="collapsed",
        help="A length before now such as 10h, or a time in UTC: 2026-01-31T09:00; at most 31 days",
        **address.bound("since", value, usual),
    )  # fmt: skip
    if value in OWN:
        return own.get(value, now - handover.USUAL_SPAN)
    why = ""
    try:
        chosen = audit.parse_moment(value, now) or now - handover.USUAL_SPAN
        why = f"{value!r} is yet to come" if chosen >= now else ""
    except ValueError as exc:
        chosen, why = now, str(exc)
    if why:
        st.warning(f"{elements.escape(why)}. This is the handover of the last {USUAL}.")
        return now - handover.USUAL_SPAN
    if chosen < now - handover.LONGEST_SPAN:
        st.warning(f"A handover is of {handover.LONGEST_SPAN.days} days at most, and so is this one.")
    return max(chosen, now - handover.LONGEST_SPAN)


def page_address() -> str:
    """The address of the pages, for the links of the Markdown; empty where the browser's is not known."""
    parts = urlsplit(str(st.context.url or ""))
    return f"{parts.scheme}://{parts.netloc}{parts.path.rpartition('/')[0]}" if parts.netloc else ""


def take_along(text: str, at: datetime) -> None:
    """The Markdown, to copy or to download; both are the same text."""
    data = text.encode()
    st.download_button(
        "Markdown", recording.export("handover", lambda: (data, text.count("\n- ")), form="md"),
        f"handover-{at:%Y%m%d-%H%M}.md", "text/markdown", key="handover_file", icon=":material/download:",
        on_click="ignore",
    )  # fmt: skip
    with st.popover("Copy", key="handover_copy", icon=":material/content_copy:"):
        st.caption("Markdown for a chat or a wiki. Each line leads to what it is about.")
        st.code(text, language="markdown", wrap_lines=True, height=360)


def draw_section(section: Section) -> None:
    """One part: a heading, and its lines, each of which leads to what it is about."""
    with st.container(border=True, gap="xxsmall", width=WIDTH, key=f"handover_{section.title}"):
        st.header(section.title, anchor=False)
        for line in section.lines:
            draw_line(line)
        if not section.lines:
            st.caption(handover_wording.NOTHING)


def draw_line(line: Line) -> None:
    """A line: its first words lead to what it is about, and the rest takes as many rows as it needs."""
    first, rest = st.columns([1, 1.8], gap=None, vertical_alignment="center")
    label = f"**{elements.escape(line.label)}**"
    if line.page in PAGES:
        first.page_link(PAGES[line.page], label=label, query_params=dict(line.query), width="content")
    else:
        first.markdown(f":small[{label}]")
    rest.markdown(f":small[{elements.escape(line.more)}]")


def draw() -> None:
    """The page: the choice of the time and what can be taken along, then its parts."""
    now = utc_now()
    st.html(STYLE_OF_PRINT)
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="handover_tools"):
        since = start(now)
        handed = handover.handover(session.database(), since, now)
        take_along(handover_wording.markdown(handed, times.zone_name(), page_address()), now)
    zone = elements.escape(times.zone_name())
    st.markdown(f"**{elements.escape(handover_wording.title(handed))}** ({zone})")
    parts = handover_wording.sections(handed)
    for part in parts[:-1]:
        draw_section(part)
    with st.container(gap=None):
        st.caption(f"**{parts[-1].title}**")
        for line in parts[-1].lines:
            st.caption(elements.escape(line.text))


with elements.error_box():
    draw()
