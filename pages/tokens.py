"""API tokens: which programs may ask, what each may and until when, how much it did; make one, revoke one."""

from collections.abc import Sequence
from datetime import datetime

import pandas as pd
import streamlit as st

import actors
import elements
import session
import times
from tracking.access import Access, Person
from tracking.api.callers.tokens import (
    DAYS,
    LISTED,
    MOST_DAYS,
    Standing,
    Token,
    listed_tokens,
    make_token,
    revoke_token,
)
from tracking.orders import wording
from tracking.orders.observations import utc_now

BADGES = {
    Standing.ACTIVE: ("green", ":material/check:"),
    Standing.EXPIRES_SOON: ("orange", ":material/schedule:"),
}
ROLES = {Access.VIEWER: "Viewer: reads orders", Access.OPERATOR: "Operator: also places and polls orders"}
CARDS = 10  # of tokens that count, on one page
ENDED_ROWS, ROW_HEIGHT = 10, 30
MADE = "made_token"


@elements.live("5s", "tokens")
def listed() -> None:
    """The tokens, those that count first; read anew every few seconds."""
    now, tokens = utc_now(), listed_tokens(session.database())
    ended = [token for token in tokens if token.standing(now) in {Standing.EXPIRED, Standing.REVOKED}]
    counting = [token for token in tokens if token not in ended]
    warn(counting, now)
    if not counting:
        st.info(
            "No program can ask the API. Make a token for one that reads orders, or places them: docs/api.md.",
            icon=":material/key:",
        )
    for token in of_this_page(counting, now):
        with st.container(border=True, gap="xsmall", key=f"token_{token.name}"):
            card(token, now)
    if ended:
        draw_ended(ended, now)
    if len(tokens) == LISTED:
        st.caption(f"The newest {LISTED:,} tokens; the command “tracking tokens list” has them all.")


def warn(tokens: Sequence[Token], now: datetime) -> None:
    """Say which tokens expire soon, and what to do."""
    soon = [token for token in tokens if token.standing(now) is Standing.EXPIRES_SOON]
    if soon:
        named = ", ".join(f"{token.name} {token.ends(now)}" for token in soon[:5])
        more = f", and {len(soon) - 5:,} more" if len(soon) > 5 else ""
        st.warning(
            f"{elements.escape(named)}{more}. Its program gets no answer from then on: make another token, have the "
            "program use that one, and revoke this one.",
            icon=":material/schedule:",
        )


def of_this_page(tokens: Sequence[Token], now: datetime) -> Sequence[Token]:
    """The tokens that are shown: of more than fit a page a part, by name and by page; what expires soon comes first."""
    soonest_first = sorted(tokens, key=lambda token: token.standing(now) is not Standing.EXPIRES_SOON)
    if len(soonest_first) <= CARDS:
        return soonest_first
    part = st.text_input(
        "Find a token", key="find_token", placeholder="Part of its name", icon=":material/search:", width=320,
        label_visibility="collapsed",
    ).strip()  # fmt: skip
    matches = [token for token in soonest_first if part.casefold() in token.name.casefold()]
    st.caption(
        f"{len(matches):,} of {wording.count(len(soonest_first), 'token')}"
        if matches
        else "No token has this in its name."
    )
    pages = -(-len(matches) // CARDS)
    page = st.pagination(pages, key=f"tokens_page_{pages}") if pages > 1 else 1
    return matches[(page - 1) * CARDS : page * CARDS]


def card(token: Token, now: datetime) -> None:
    """One token that counts: what it may, until when, how much it did, and revoking it."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"token_head_{token.name}"):
        st.markdown(f"**{elements.escape(token.name)}**", width="content")
        color, icon = BADGES[token.standing(now)]
        ends = token.ends(now)
        st.badge(f"{ends[0].upper()}{ends[1:]}", color=color, icon=icon)  # type: ignore[arg-type]  # holds only its colours
        st.space("stretch")
        why = session.may_not_act()
        if st.button("Revoke", key=f"revoke_{token.name}", icon=":material/block:", disabled=bool(why), help=why):
            _revoke_dialog(token.name)
    until = f" · Expires {times.text(token.expires_at)}" if token.expires_at else ""
    by = elements.escape(wording.person(token.created_by))
    st.caption(f"{ROLES[Access(token.access)]} · Made {times.text(token.created_at)} by {by}{until}")
    st.caption(_use(token))


def _use(token: Token) -> str:
    if token.last_used_at is None:
        return "Never used"
    counts = f"{wording.count(token.reads, 'answer')} · {wording.count(token.acts, 'act')}"
    return f"Last used {times.text(token.last_used_at)} · {counts}"


def draw_ended(tokens: Sequence[Token], now: datetime) -> None:
    """Those that count no more: what each did, and how it ended."""
    ends = [token.revoked_at or token.expires_at for token in tokens]
    cells = {
        "name": [token.name for token in tokens],
        "state": [token.standing(now).value.capitalize() for token in tokens],
        "ended": ends,
        "by": [wording.person(token.revoked_by) if token.revoked_by else "" for token in tokens],
        "role": [token.access for token in tokens],
        "made": [token.created_at for token in tokens],
        "reads": [token.reads for token in tokens],
        "acts": [token.acts for token in tokens],
    }
    with st.expander(f"Expired and revoked {len(tokens):,}", key="ended_tokens"):
        st.dataframe(
            pd.DataFrame(cells),
            key="ended_tokens_table",
            height="content" if len(tokens) < ENDED_ROWS else ROW_HEIGHT * (ENDED_ROWS + 1),
            row_height=ROW_HEIGHT,
            hide_index=True,
            placeholder="",
            alt=f"{wording.count(len(tokens), 'token')} of the API that expired or were revoked, newest first",
            column_config={
                "name": st.column_config.TextColumn("Token", width=160),
                "state": st.column_config.TextColumn("State", width=90),
                "ended": times.column("Ended", width=160),
                "by": st.column_config.TextColumn("Revoked by", width=140),
                "role": st.column_config.TextColumn("Role", width=90),
                "made": times.column("Made", width=160),
                "reads": st.column_config.NumberColumn("Answers", format="localized", width=90),
                "acts": st.column_config.NumberColumn("Acts", format="localized", width=70),
            },
        )


# Dialogs


@elements.dialog("Make token", icon=":material/key:")
def _make_dialog() -> None:
    with st.form("make_token", border=False):
        person = actors.field()
        name = st.text_input(
            "Name", key="token_name", max_chars=40, placeholder="billing", help="What it is for: it stands in logs."
        )
        role = st.selectbox("Role", list(ROLES), key="token_role", format_func=ROLES.__getitem__)
        days = st.number_input("Expires after days", 1, MOST_DAYS, DAYS, key="token_days")
        never = st.checkbox("Never expires", key="token_never", help="It counts until somebody revokes it.")
        sent = st.form_submit_button("Make token", type="primary", key="make_token_submit")
    if sent and actors.is_named(person):
        elements.attempt(lambda: _make(name.strip(), role, None if never else int(days), person))


def _make(name: str, role: Access, days: int | None, by: Person) -> None:
    token = make_token(session.database(), name, role, by=by, now=utc_now(), days=days)
    st.session_state[MADE] = name, token
    elements.toast_after_rerun(f"{name}: made.")


@elements.dialog("Token", icon=":material/key:")
def _made_dialog(name: str, token: str) -> None:
    st.markdown(f"The token **{elements.escape(name)}** is shown this once: keep it where secrets are kept.")
    st.code(token, language=None, wrap_lines=True)
    st.caption("Programs send it in the header “Authorization: Bearer”, as docs/api.md shows.")


@elements.dialog("Revoke token", icon=":material/block:")
def _revoke_dialog(name: str) -> None:
    with st.form("revoke_token", border=False):
        person = actors.field()
        st.markdown(
            f"Whoever asks with **{elements.escape(name)}** gets no answer from now on. "
            "Its name is given to no other token."
        )
        sent = st.form_submit_button("Revoke token", type="primary", key="revoke_token_submit")
    if sent and actors.is_named(person):
        elements.attempt(lambda: _revoke(name, person))


def _revoke(name: str, by: Person) -> None:
    revoked = revoke_token(session.database(), name, by=by, now=utc_now())
    elements.toast_after_rerun(f"{name}: revoked." if revoked else f"{name}: was revoked before.")


with elements.error_box():
    with st.container(horizontal=True, vertical_alignment="center", key="tokens_head"):
        st.header("API tokens", anchor=False, width="content")
        st.space("stretch")
        refusal = session.may_not_act()
        if st.button("Make token", icon=":material/add:", key="make_token_open", disabled=bool(refusal), help=refusal):
            _make_dialog()
    if made := st.session_state.pop(MADE, None):
        _made_dialog(*made)
    if refusal:
        st.info(refusal, icon=":material/lock:")
    else:
        listed()
