"""The summary beside the form: the order's lines with their recipients, what it comes to, and the way to its review."""

from collections import Counter
from typing import Any, Literal

import streamlit as st

import cached
import elements
import order_draft
import order_form
import session
from order_draft import Draft
from tracking.orders import wording
from tracking.orders.model import OrderRequest, OrderType
from tracking.orders.observations import utc_now
from tracking.reports import amounts, health
from tracking.submissions.catalog import Catalog, face_values
from tracking.submissions.files import CheckedFile

LINES_IN_FULL = 5
LINES_HEIGHT = 280


def draw(catalogue: Catalog, draft: Draft, checked: CheckedFile) -> None:
    """The lines, the sums, what is left to fix, and the button that leads on."""
    with st.container(border=True, key="summary", gap="small"):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.header("Summary", anchor=False, width="content")
            st.markdown(f"`{draft.po_number}`", width="content")
        problems = order_form.visible_problems(draft, checked)
        if draft.lines:
            lines(catalogue, draft, Counter(line for line, _, _ in problems if line is not None))
            if all(map(order_draft.has_amounts, draft.lines)):  # a sum of the others would not be that of the order
                sums(catalogue, [order_draft.as_request(draft)])
        if problems:
            fields = list(dict.fromkeys(order_form.field_label(where) for _, where, _ in problems))
            st.error(elements.escape(f"Fix before sending: {', '.join(fields[:6])}"), icon=":material/error:")
        say_delays()
        st.button(
            "Review",
            key="review",
            type="primary",
            icon=":material/fact_check:",
            width="stretch",
            on_click=order_draft.wish,
            args=("review",),
            disabled=not draft.lines,
        )


def lines(catalogue: Catalog, draft: Draft, problems: Counter[int]) -> None:
    """Each line with its recipient, and the ways to change and to remove it."""
    with st.container(
        height=LINES_HEIGHT if len(draft.lines) > LINES_IN_FULL else "content", border=False, gap="xsmall"
    ):
        for at in range(len(draft.lines)):
            line(catalogue, draft, at, problems[at])


def line(catalogue: Catalog, draft: Draft, at: int, problems: int) -> None:
    """One line of the summary. The one in the form needs no way to it."""
    entered = draft.lines[at]
    mark = ":red[:material/error:] " if problems else ""
    recipient = order_draft.recipient_text(entered)
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall", key=f"line_{at}"):
        with st.container(gap=None, width="stretch"):
            st.markdown(f"{mark}{line_title(catalogue, entered, at)}")
            if recipient:
                st.caption(elements.escape(recipient))
        if len(draft.lines) > 1:
            if at != draft.at:
                edit, args = f"Edit line {at + 1}", (catalogue, at)
                st.button("Edit", key=f"edit_{at}", type="tertiary", help=edit, on_click=order_form.edit, args=args)
            remove = f"Remove line {at + 1}"
            st.button(
                "Remove", key=f"remove_{at}", type="tertiary", help=remove, on_click=order_draft.remove, args=(at,)
            )


def line_title(catalogue: Catalog, entered: dict[str, Any], at: int) -> str:
    """The line's number, product, cards and the value of each with its currency, for Markdown."""
    product = catalogue.products.get(entered["ProductId"])
    name = product.name if product else entered["ProductId"]
    if not order_draft.has_amounts(entered):
        return f"{at + 1}\\. " + elements.escape(f"{name}, value or quantity to fix")
    value = wording.money(round(entered["Value"] * 100), product.currency_code if product else "")
    cards = wording.count(entered["Quantity"], "card")
    return f"{at + 1}\\. " + elements.escape(f"{name}, {cards} of {value}")


def sums(catalogue: Catalog, requests: list[OrderRequest], width: Literal["stretch"] | int = "stretch") -> None:
    """What orders come to by currency, beside what the account holds before and after them."""
    cards = sum(request.units for request in requests)
    face, cost = face_values(requests, catalogue), catalogue.quote(requests)
    by_post = any(request.type == OrderType.PHYSICAL for request in requests)
    with st.container(gap="xxsmall", width=width):
        figure("Cards", f"{cards:,}")
        figure("Face value", amounts.worth(face))
        label = "Estimated cost, without postage" if by_post else "Estimated cost"
        figure(label, amounts.worth(cost), "What the provider charges decides.")
        balance(catalogue.only_currency, cost)
    if len(face) > 1:
        st.warning("Several currencies, each added up by itself.", icon=":material/currency_exchange:")


def balance(currency: str, cost: dict[str, int]) -> None:
    """What the account holds, and what would be left. `currency` is that of all that the provider sells, if it is one.

    The provider names none of the balance itself: where it may be another, what would be left is only supposed.
    """
    current = health.balance(session.database())
    if current is None or current.available_minor is None:
        figure("Balance", "not read yet" if current is None else "not offered by the provider")
        return
    figure("Balance", wording.money(current.available_minor, currency))
    if len(cost) > 1:
        figure("Balance after", "unknown, for several currencies")
        return
    [(charged, minor)] = cost.items() or [(currency, 0)]
    left = current.available_minor - minor
    label = "Balance after" if charged == currency else f"Balance after, if it is in {elements.escape(charged)}"
    figure(label, wording.money(left, charged))
    if left < 0:
        text = f"The estimated cost exceeds the balance by {wording.money(-left, charged)}."
        st.warning(elements.escape(text), icon=":material/account_balance_wallet:")


def figure(label: str, value: str, help_text: str | None = None) -> None:
    """A figure on a row of its own, never cut off."""
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center", gap="small"):
        st.caption(label, width="content", help=help_text)
        st.markdown(f"**{elements.escape(value)}**", width="content", text_alignment="right")


def say_delays() -> None:
    """Say that an order waits, where nobody can send it now: it goes out by itself."""
    now = cached.health()
    if now.unreachable_since or now.refused or now.paused_until:
        text = "The provider cannot be reached right now. Orders are queued and will be sent automatically."
        st.warning(text, icon=":material/cloud_off:")
    if absent := health.absent_loop(session.database(), "sender", utc_now()):
        st.warning(f"{absent[0].upper()}{absent[1:]}. Until then orders are queued.", icon=":material/pause:")
