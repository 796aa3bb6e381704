"""The balance on the overview: one line with what is left and how long it lasts; more when it is opened."""

import streamlit as st

import board_work
import cached
import elements
import times
from tracking.orders import wording
from tracking.orders.observations import utc_now
from tracking.reports.board import balance
from tracking.reports.board.balance import BalanceStatus, Spending

NO_CURRENCY = "(currency unknown)"  # said once, not beside each amount


def line() -> None:
    """The balance; nothing where the provider offers none, or it was never read."""
    status = cached.balance()
    if status is None or status.available_minor is None:
        return
    with st.popover(_label(status), key="balance", type="tertiary", width="content"):
        _details(status)


def _label(status: BalanceStatus) -> str:
    """What is left, and what is wrong with it in words and colour, else how long it lasts."""
    left = elements.escape(wording.money(status.available_minor or 0, status.currency))
    if status.is_low:
        least = elements.escape(wording.money(status.below_minor or 0, status.currency))
        return f":red-badge[:material/warning: Low balance {left}, below {least}]"
    lasts = elements.escape(status.lasts().removeprefix("lasts "))
    if status.is_stale(utc_now()):
        age = board_work.brief(utc_now() - status.read_at)
        return f":orange-badge[:material/history: Balance {left}, read {age} ago]"
    if status.ends_soon():
        return f":orange-badge[:material/hourglass_bottom: Balance {left}, {lasts}]"
    return f":material/account_balance_wallet: Balance **{left}** · {lasts}"


def _details(status: BalanceStatus) -> None:
    left = elements.escape(wording.money(status.available_minor or 0, status.currency))
    if len(status.course) > 1:
        st.metric(
            "Balance by hour, last 7 days", left, chart_data=[value / 100 for _, value in status.course],
            chart_type="line", delta=None,
        )  # fmt: skip
    else:
        st.metric("Balance", left)
    st.caption(f"{elements.escape(balance.sentence(status, utc_now()))} Read at {times.text(status.read_at)}.")
    if status.spending is None:
        st.markdown("How long it lasts is said after 48 hours of readings.")
    else:
        _spending(status.spending, status.currency)
    if status.below_minor is None:
        st.caption("No threshold is set: `TRACKING_BALANCE_BELOW`.")
    if not status.currency:
        st.caption("The provider names no currency. Set the threshold with one, as in `500 USD`.")


def _spending(spending: Spending, currency: str) -> None:
    def money(minor: float) -> str:
        return elements.escape(wording.money(round(minor), currency).removesuffix(f" {NO_CURRENCY}"))

    days = wording.duration(spending.span)
    st.markdown(
        f"In {elements.escape(days)}: **{money(spending.spent_minor)}** spent, {money(spending.refilled_minor)} paid in"
    )
    st.caption(
        f"An average day {money(spending.daily)}, the busiest {money(spending.busiest_day)}: the two rates between "
        "which it lasts. Whoever spends from the account counts; what is paid in does not."
    )
