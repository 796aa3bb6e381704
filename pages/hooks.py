"""Outgoing webhooks: who is notified of which events of orders, how each fares, and what was delivered."""

import asyncio
import functools
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import streamlit as st

import actors
import elements
import hook_deliveries
import session
import times
from tracking.access import Person
from tracking.delivery import subscribing
from tracking.delivery.posting import Poster
from tracking.delivery.resending import replay, send_test
from tracking.delivery.signing import Secret, SecretCipher
from tracking.delivery.subscribing import EVENT_TYPES, LONGEST_NAME, ORDER_TYPES, OVERLAP, NewHook
from tracking.orders import wording
from tracking.orders.observations import utc_now
from tracking.reports.outgoing.hooks import Hook, hooks
from tracking.storage.integration.subscriptions import SubscriptionState

STATES = {
    SubscriptionState.ACTIVE: ("Active", "green", ":material/check:"),
    SubscriptionState.PAUSED: ("Paused", "gray", ":material/pause:"),
    SubscriptionState.SWITCHED_OFF: ("Switched off", "red", ":material/error:"),
}
FAILING = ("Failing", "orange", ":material/warning:")
SPANS = {"1h": timedelta(hours=1), "24h": timedelta(days=1), "7d": timedelta(days=7), "30d": timedelta(days=30)}
MENU = {
    "test": ":material/send: Send a test",
    "rotate": ":material/key: New secret",
    "replay": ":material/replay: Replay",
    "remove": ":material/delete: Remove",
}
SECRET = "hook_secret"  # noqa: S105 - where this session has the name and the secret that are shown once  # nosec B105


@elements.live("5s", "hooks")
def listed() -> None:
    """All subscriptions; read anew every few seconds."""
    rows = hooks(session.database())
    if not rows:
        st.info(
            "No other system is notified. Add a webhook: a URL that gets a signed message for each event of orders, "
            "such as completions.",
            icon=":material/webhook:",
        )
    for hook in rows:
        with st.container(border=True, gap="xsmall", key=f"hook_{hook.id}"):
            card(hook)


def card(hook: Hook) -> None:
    """One subscription: what it gets, how it fares, and what can be done with it."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"hook_head_{hook.id}"):
        st.markdown(f"**{elements.escape(hook.name)}**", width="content")
        label, color, icon = FAILING if is_failing(hook) else STATES[SubscriptionState(hook.state)]
        st.badge(label, color=color, icon=icon)  # type: ignore[arg-type]  # holds only its colours
        st.space("stretch")
        draw_acts(hook)
    st.caption(f"{elements.escape(hook.url)} · {elements.escape(what_it_gets(hook))}")
    st.caption(elements.escape(fares(hook)))


def is_failing(hook: Hook) -> bool:
    """Whether it is delivered to, and the newest attempts failed."""
    return hook.state == SubscriptionState.ACTIVE and hook.failing_since is not None


def what_it_gets(hook: Hook) -> str:
    """Which events of which orders, in words."""
    names = {"po_prefix": "PO number begins with {}", "order_type": "{}", "source": "from {}"}
    orders = ", ".join(names[name].format(value) for name, value in hook.filters.items())
    return " · ".join(filter(None, (", ".join(hook.event_types) or "all events", orders)))


def fares(hook: Hook) -> str:
    """How it fares, in a sentence."""
    parts = []
    if is_failing(hook):
        parts.append(f"Failing since {times.text(hook.failing_since)}, next try {times.text(hook.retry_at)}")
    elif hook.state != SubscriptionState.ACTIVE:
        why = f": {hook.state_why}" if hook.state_why else f" by {hook.state_by}"
        label = STATES[SubscriptionState(hook.state)][0]
        parts.append(f"{label} {times.text(hook.state_at)}{why}")
    parts.append(f"Last success {times.text(hook.succeeded_at)}" if hook.succeeded_at else _nothing_yet(hook))
    if hook.waiting:
        oldest = f", the oldest since {times.text(hook.oldest_at)}" if hook.oldest_at else ""
        parts.append(f"{hook.waiting_text} waiting{oldest}")
    return " · ".join(parts)


def _nothing_yet(hook: Hook) -> str:
    if hook.receives_from is None:
        return "Nothing delivered yet: what is being written now may not know of it"
    return f"Nothing delivered yet of what happens from {times.text(hook.receives_from)} on"


def draw_acts(hook: Hook) -> None:
    """What can be done with the subscription; viewers see why they may not."""
    why, key = session.may_not_act(), hook.id
    off: dict[str, Any] = {"disabled": why is not None, "help": why}
    if hook.state == SubscriptionState.ACTIVE:
        if st.button("Pause", key=f"pause_{key}", icon=":material/pause:", **off):
            actors.act("Pause", functools.partial(_pause, hook.name))
    elif st.button("Resume", key=f"resume_{key}", icon=":material/play_arrow:", type="primary", **off):
        actors.act("Resume", functools.partial(_resume, hook.name))
    _draw_menu(hook, off)


def _draw_menu(hook: Hook, off: Mapping[str, Any]) -> None:
    """What is done seldom: a menu, as it closes by itself before a dialog opens."""
    picked = st.menu_button("More", list(MENU), key=f"more_{hook.id}", format_func=MENU.__getitem__, **off)
    if picked == "test":
        actors.act("Send a test", functools.partial(_test, hook.name))
    elif picked == "rotate":
        _rotate_dialog(hook.name)
    elif picked == "replay":
        _replay_dialog(hook.name)
    elif picked == "remove":
        _remove_dialog(hook.name, hook.waiting_text)


def _pause(name: str, by: Person) -> None:
    subscribing.pause(session.database(), name, by=by, now=utc_now())
    elements.toast_after_rerun(f"{name}: paused. What happens meanwhile waits for it.")


def _resume(name: str, by: Person) -> None:
    subscribing.resume(session.database(), name, by=by, now=utc_now())
    elements.toast_after_rerun(f"{name}: resumed. What waited is sent.")


def _test(name: str, by: Person) -> None:
    allowed = session.settings().hooks_allow
    how: dict[str, Any] = {"poster": Poster(allowed), "cipher": cipher(), "allowed": allowed}
    reply = asyncio.run(send_test(session.database(), name, **how, by=by, now=utc_now()))
    came = f"answered {reply.status}" if reply.status else wording.plain(reply.error or "")
    elements.toast_after_rerun(f"Test of {name}: {came}")


def cipher() -> SecretCipher:
    """What encrypts the secrets of this console."""
    return SecretCipher(session.settings().claims_keys())


# Dialogs


@elements.dialog("Add webhook", icon=":material/webhook:")
def _add_dialog() -> None:
    with st.form("add_hook", border=False):
        person = actors.field()
        name = st.text_input("Name", key="hook_name", max_chars=LONGEST_NAME, placeholder="crm")
        url = st.text_input("URL", key="hook_url", placeholder="https://crm.example.com/hooks/orders")
        types = st.multiselect("Events", EVENT_TYPES, key="hook_types", placeholder="All events")
        prefix = st.text_input("PO number begins with", key="hook_prefix", placeholder="Any")
        order_type = st.selectbox("Order type", ORDER_TYPES, index=None, key="hook_type", placeholder="Any")
        source = st.text_input("Source", key="hook_source", placeholder="Any, such as form or elsewhere")
        sent = st.form_submit_button("Add", type="primary", key="add_hook_submit")
    if sent and actors.is_named(person):
        hook = NewHook(name, url, tuple(types), prefix.strip() or None, order_type, source.strip() or None)
        elements.attempt(lambda: _add(hook, person))


def _add(hook: NewHook, by: Person) -> None:
    allowed = session.settings().hooks_allow
    secret = subscribing.add(session.database(), hook, cipher=cipher(), allowed=allowed, by=by, now=utc_now())
    st.session_state[SECRET] = hook.name, secret
    elements.toast_after_rerun(f"{hook.name}: added.")


@elements.dialog("New secret", icon=":material/key:")
def _rotate_dialog(name: str) -> None:
    with st.form("rotate_hook", border=False):
        person = actors.field()
        hours = OVERLAP // timedelta(hours=1)
        st.markdown(
            f"Messages to **{elements.escape(name)}** are signed with a new secret. The present one signs them too for "
            f"{hours} hours, so that the receiver can change over."
        )
        sent = st.form_submit_button("Make a new secret", type="primary", key="rotate_submit")
    if sent and actors.is_named(person):
        elements.attempt(lambda: _rotate(name, person))


def _rotate(name: str, by: Person) -> None:
    secret = subscribing.rotate(session.database(), name, cipher=cipher(), by=by, now=utc_now())
    st.session_state[SECRET] = name, secret
    st.rerun()


@elements.dialog("Secret", icon=":material/key:")
def _secret_dialog(name: str, secret: Secret) -> None:
    st.markdown(f"The secret of **{elements.escape(name)}** is shown this once: give it to the receiver now.")
    st.code(secret.text, language=None, wrap_lines=True)
    st.caption("The receiver verifies each message with it, by the Standard Webhooks scheme: docs/webhooks-out.md.")


@elements.dialog("Replay", icon=":material/replay:")
def _replay_dialog(name: str) -> None:
    with st.form("replay_hook", border=False):
        person = actors.field()
        span = st.selectbox("What happened in the last", list(SPANS), key="replay_span")
        st.caption(
            f"All that {elements.escape(name)} gets of this time is sent again under the same ids, and what happened "
            "before the webhook was made for the first time; what somebody skipped is not. "
            "`tracking hooks replay` takes any span."
        )
        sent = st.form_submit_button("Replay", type="primary", key="replay_submit")
    if sent and actors.is_named(person):
        elements.attempt(lambda: _replay(name, SPANS[span], person))


def _replay(name: str, span: timedelta, by: Person) -> None:
    now = utc_now()
    result = replay(session.database(), name, now - span, now, by=by, now=now)
    stay = f" {result.skipped:,} stay skipped." if result.skipped else ""
    elements.toast_after_rerun(f"{name}: {wording.count(result.waiting, 'message')} wait to be sent.{stay}")


@elements.dialog("Remove webhook", icon=":material/delete:")
def _remove_dialog(name: str, waiting: str) -> None:
    with st.form("remove_hook", border=False):
        person = actors.field()
        st.markdown(f"**{elements.escape(name)}** gets nothing any more. What waits for it ({waiting}) is dropped.")
        sent = st.form_submit_button("Remove", type="primary", key="remove_submit")
    if sent and actors.is_named(person):
        elements.attempt(lambda: _remove(name, person))


def _remove(name: str, by: Person) -> None:
    subscribing.remove(session.database(), name, by=by, now=utc_now())
    elements.toast_after_rerun(f"{name}: removed.")


with elements.error_box():
    with st.container(horizontal=True, vertical_alignment="center", key="hooks_head"):
        st.header("Outgoing webhooks", anchor=False, width="content")
        st.space("stretch")
        refusal = session.may_not_act()
        if st.button("Add webhook", icon=":material/add:", key="add_hook_open", disabled=bool(refusal), help=refusal):
            _add_dialog()
    if fresh := st.session_state.pop(SECRET, None):
        _secret_dialog(*fresh)
    listed()
    hook_deliveries.draw()
