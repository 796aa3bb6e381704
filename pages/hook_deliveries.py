"""The deliveries of outgoing webhooks: a list with filters, one with its attempts, sending it again, skipping it."""

import functools
from collections.abc import Sequence

import pandas as pd
import streamlit as st

import actors
import address
import elements
import session
import times
from tracking.access import Person
from tracking.delivery.resending import send_again
from tracking.delivery.skipping import skip
from tracking.orders import wording
from tracking.orders.model import State
from tracking.orders.observations import utc_now
from tracking.reports.outgoing.hooks import (
    STATES,
    Delivery,
    DeliveryFilters,
    answer_words,
    attempts,
    delivery,
    delivery_page,
    hooks,
    payload,
    waits_behind,
)
from tracking.submissions.actions import MAX_TEXT

ROW_HEIGHT = 30
LABELS = {"waiting": "Waiting", "delivered": "Delivered", "skipped": "Skipped", "dropped": "Dropped"}
OF_AN_ORDER = 20
RESETS = ("below",)
OPENED = "opened_delivery"


def draw() -> None:
    """The list, with its filters."""
    listed = hooks(session.database())
    chosen, state = filters([hook.name for hook in listed])
    hook = next((each for each in listed if each.name == chosen), None)
    st.subheader("Deliveries", anchor=False)
    _draw_filters([hook.name for hook in listed], chosen, state)
    _draw_list(DeliveryFilters(hook.id if hook else None, state))


def filters(names: Sequence[str]) -> tuple[str, str]:
    """Which subscription's and in which state, as the address says; empty for all."""
    return address.choice("hook", ("", *names), ""), address.choice("state", ("", *STATES), "")


def _draw_filters(names: Sequence[str], chosen: str, state: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="delivery_filters"):
        st.selectbox(
            "Webhook", ["", *names], format_func=lambda name: name or "All webhooks", label_visibility="collapsed",
            width=220, **address.bound("hook", chosen, "", resets=RESETS),
        )  # fmt: skip
        st.segmented_control(
            "State", ["", *STATES], format_func=lambda word: LABELS.get(word, "All"), label_visibility="collapsed",
            required=True, **address.bound("state", state, "", resets=RESETS),
        )  # fmt: skip


@elements.live("5s", "deliveries")
def _draw_list(filters: DeliveryFilters) -> None:
    """A page of deliveries, newest first; read anew every few seconds."""
    below = address.number("below", digits=15)
    rows, more = delivery_page(session.database(), filters, below=below)
    _draw_opened()
    if rows:
        table(rows, f"deliveries_{below or 0}")
    else:
        st.caption("No deliveries match." if filters.state or filters.subscription_id else "Nothing was sent yet.")
    with st.container(horizontal=True, key="delivery_pages"):
        if below is not None and st.button("Newest", key="deliveries_newest", icon=":material/first_page:"):
            address.change({"below": ""})
            st.rerun()
        if more is not None and st.button("Older", key="deliveries_older", icon=":material/chevron_right:"):
            address.change({"below": str(more)})
            st.rerun()


def _draw_opened() -> None:
    """The delivery that was opened, above the list, which goes on being read anew."""
    opened = st.session_state.get(OPENED)
    if opened is None:
        return
    row = delivery(session.database(), opened)
    if row is not None:
        details(row)


def _open(key: str, ids: Sequence[int]) -> None:
    """Open the delivery whose row was chosen: by the rows as they were drawn, as others may have come since."""
    row = next(iter(st.session_state[key].selection.rows), None)
    st.session_state[OPENED] = ids[row] if row is not None and row < len(ids) else None


def table(rows: Sequence[Delivery], name: str) -> None:
    """The deliveries as a table; to choose a row opens its delivery."""
    ids = [row.id for row in rows]
    # Rows that came since would move the mark of the chosen one: another table has none.
    key = f"{name}_{ids[0]}_{ids[-1]}"
    colors = {"Delivered": elements.palette().states[State.COMPLETED], "Waiting": elements.palette().warning}
    colors |= dict.fromkeys(("Skipped", "Dropped"), elements.palette().muted)
    cells = {
        "at": [row.created_at for row in rows],
        "state": [[LABELS[row.state]] for row in rows],
        "order": [wording.plain(row.po_number) for row in rows],
        "event": [row.event_type for row in rows],
        "answer": [row.answer for row in rows],
        "attempts": [row.attempts for row in rows],
        "hook": [wording.plain(row.hook) for row in rows],
    }
    st.dataframe(
        pd.DataFrame(cells),
        key=key,
        height="content",
        row_height=ROW_HEIGHT,
        hide_index=True,
        placeholder="",
        on_select=functools.partial(_open, key, ids),
        selection_mode="single-row",
        alt=f"{len(rows)} deliveries of outgoing webhooks, newest first",
        column_config={
            "at": times.column("Event at", width=150),
            "state": elements.pill_column("State", colors, width=110),
            "order": st.column_config.TextColumn("PO number", width=150),
            "event": st.column_config.TextColumn("Event", width=140),
            "answer": st.column_config.TextColumn("Last answer", width=260),
            "attempts": st.column_config.NumberColumn("Attempts", format="localized", width=80),
            "hook": st.column_config.TextColumn("Webhook", width=140),
        },
    )


def details(row: Delivery) -> None:
    """The attempts of a delivery, what is sent, and what can be done with it."""
    with st.container(border=True, gap="small", key=f"delivery_{row.id}"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small", key="delivery_head"):
            st.markdown(f"**{elements.escape(row.event_type)}**", width="content")
            elements.order_link(row.po_number)
            st.space("stretch")
            why = session.may_not_act()
            if st.button(
                "Send again", key="send_delivery_again", icon=":material/replay:", disabled=bool(why), help=why
            ):
                actors.act("Send again", functools.partial(_send_again, row.id))
            if row.state == "waiting" and st.button(
                "Skip", key="skip_delivery", icon=":material/skip_next:", disabled=bool(why), help=why
            ):
                _skip_dialog(row)
            if st.button("Close", key="close_delivery", icon=":material/close:", type="tertiary"):
                st.session_state[OPENED] = None
                st.rerun()
        st.caption(f"{elements.escape(row.message_id)} · {elements.escape(_standing(row))}")
        if row.state == "waiting" and (first := waits_behind(session.database(), row)) is not None:
            _draw_held_up(first)
        for attempt in attempts(session.database(), row.id, 5):
            by = f" · sent again by {attempt['by']}" if attempt["by"] else ""
            answer = answer_words(attempt["status"], attempt["error"])
            words = f": {wording.plain(attempt['answer'])[:200]}" if attempt["answer"] else ""
            at = f"Attempt {attempt['number']:,}, {times.text(attempt['at'])}"
            st.text(f"{at} · {answer}{words} · {attempt['milliseconds']:,} ms{by}")
        body = payload(session.database(), row.id)
        if body is None:
            st.caption("What is sent is made at the first attempt.")
        else:
            with st.expander("What is sent", key="delivery_payload"):
                st.json(body)


def _draw_held_up(first: Delivery) -> None:
    """Say which message of the same order holds it up, and open that one."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="held_up"):
        before = f"{first.event_type} of {times.text(first.created_at)} ({first.answer})"
        text = f"It is sent after {before}, or once that is skipped."
        st.markdown(f":material/hourglass_empty: {elements.escape(text)}", width="content")
        if st.button("Open that one", key="open_first", type="tertiary"):
            st.session_state[OPENED] = first.id
            st.rerun()


def _standing(row: Delivery) -> str:
    if row.state == "waiting":
        return f"waiting, due {times.text(row.next_attempt_at)}"
    by = f" by {row.settled_by}" if row.settled_by else ""
    return f"{row.state} {times.text(row.settled_at)}{by}" + (f": {row.settled_why}" if row.settled_why else "")


def _send_again(delivery_id: int, by: Person) -> None:
    send_again(session.database(), [delivery_id], by=by, now=utc_now())
    elements.toast_after_rerun("It is sent once more, under the same id.")


@elements.dialog("Skip message", icon=":material/skip_next:")
def _skip_dialog(row: Delivery) -> None:
    with st.form("skip_delivery_form", border=False):
        person = actors.field()
        st.markdown(
            f"**{elements.escape(row.hook)}** never gets {elements.escape(row.event_type)} of "
            f"{elements.escape(row.po_number)}. What its order has to tell after it is sent."
        )
        reason = st.text_area("Reason", key="skip_reason", max_chars=MAX_TEXT, height=80)
        sent = st.form_submit_button("Skip message", type="primary", key="skip_submit")
    if sent and actors.is_named(person):
        elements.attempt(lambda: _skip(row.id, reason, person))


def _skip(delivery_id: int, reason: str, by: Person) -> None:
    skipped = skip(session.database(), [delivery_id], reason, by=by, now=utc_now())
    elements.toast_after_rerun("Skipped." if skipped else "It was skipped before.")


def draw_of_order(order_id: int) -> None:
    """The deliveries about one order, in short; nothing where there are none."""
    rows, more = delivery_page(session.database(), DeliveryFilters(order_id=order_id), limit=OF_AN_ORDER)
    if not rows:
        return
    waiting = sum(row.state == "waiting" for row in rows)
    label = f"Outgoing webhooks {len(rows)}{'+' if more else ''}" + (f", {waiting} waiting" if waiting else "")
    with st.expander(label, key="order_hooks", icon=":material/webhook:"):
        if (opened := next((row for row in rows if row.id == st.session_state.get(OPENED)), None)) is not None:
            details(opened)
        table(rows, f"deliveries_of_{order_id}")
