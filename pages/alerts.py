"""Alerts: current ones and whether services were notified, past ones, snoozes, rules."""

import functools
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs

import pandas as pd
import streamlit as st

import actors
import elements
import navigation
import session
import snooze_times
import times
from tracking.access import Person
from tracking.alerting import listing, snoozing
from tracking.alerting.listing import AlertList, alert_list
from tracking.alerting.rules import ALL, RULES, Rule
from tracking.orders import wording
from tracking.orders.observations import utc_now
from tracking.settings.alerts import AlertRule
from tracking.storage.integration.alerts import Alert

LISTED, PAST_ROWS, ROW_HEIGHT = 10, 10, 30
PAGES = {
    "orders": ("orders.py", "View orders"),
    "timeline": ("order.py", "View order"),
    "hooks": ("hooks.py", "View webhooks"),
}
EXAMPLE = """pip install 'fulfillment-tracking[alerts]'

TRACKING_ALERTS=mailtos://name:password@smtp.example.com?to=ops@example.com
TRACKING_CONSOLE_URL=https://console.example.com"""


@elements.live("5s", "alerts")
def current() -> None:
    """What lasts, and what was; read anew every few seconds."""
    now = utc_now()
    listed = alert_list(session.database(), now)
    destinations(listed)
    snoozed(listed, now)
    if listed.lead or listed.lasting:
        st.subheader("Open now", anchor=False)
        lasting(listed, now)
    if listed.lead or listed.past:
        st.subheader("Ended alerts", anchor=False)
        past(listed, now)
    st.subheader("Rules", anchor=False)
    armed(listed)


def armed(listed: AlertList) -> None:
    """Whether the rule that learns from orders can tell of anything yet, and what that rests on."""
    is_armed, why = listing.silence_standing(listed.arming)
    icon = ":material/check:" if is_armed else ":material/hourglass_empty:"
    st.caption(f"{icon} “{rule_label(AlertRule.WEBHOOKS)}” is {why}.")


def destinations(listed: AlertList) -> None:
    """Where messages go, and what keeps them from it."""
    if listed.lead is None:
        nowhere(listed)
        return
    settings = session.settings()
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="alert_services"):
        st.caption("Sent to", width="content")
        for name in listed.lead.services:
            since = listed.lead.failing.get(name)
            label = f"{name}, failing since {times.text(datetime.fromisoformat(since))}" if since else name
            icon, color = (":material/error:", "red") if since else (":material/check:", "green")
            st.badge(elements.badge_label(label), icon=icon, color=color)  # type: ignore[arg-type]  # holds only its colours
        if settings.alerts_quiet:
            st.caption(f":material/bedtime: Quiet hours {settings.alerts_quiet}", width="content")
        st.space("stretch")
        snooze_menu()


def nowhere(listed: AlertList) -> None:
    """Say that nothing leaves the console, and what to do."""
    if session.settings().alerts is not None or listed.as_of is not None:
        since = f" since {times.text(listed.as_of)}" if listed.as_of else ""
        st.warning(
            f"No process sends alerts{since}. Start the console or the worker that has TRACKING_ALERTS.",
            icon=":material/notifications_off:",
        )
        return
    st.info(
        "No alerts are set up: nobody is notified who has no page open. Name the services that alerts go to, by mail, "
        "chat or pager, and start the console again.",
        icon=":material/notifications_off:",
    )
    st.code(EXAMPLE, language=None, wrap_lines=True)
    st.caption("The command “tracking alerts test” tries each service. More in docs/alerts.md.")


# What is snoozed


def snooze_menu() -> None:
    """Snooze a rule or all of them, in a dialog."""
    why = session.may_not_act()
    if st.button("Snooze", key="snooze_alerts", icon=":material/snooze:", disabled=why is not None, help=why):
        _choose_snooze()


@elements.dialog("Snooze alerts", icon=":material/snooze:")
def _choose_snooze() -> None:
    offered = {word: until for word, until in snooze_times.choices(utc_now()).items() if until.at is not None}
    with st.form("snooze_alerts_form", border=False):
        person = actors.field()
        rule = st.selectbox("What", snoozing.CHOICES, key="snooze_rule", format_func=rule_label)
        word = st.selectbox("Until", list(offered), key="snooze_until", format_func=lambda word: offered[word].label)
        st.caption("Messages wait until then. What is over by then is not sent; what still lasts is.")
        sent = st.form_submit_button("Snooze", type="primary", key="snooze_alerts_submit")
    until = offered[word].at
    if sent and until is not None and actors.is_named(person):
        elements.attempt(lambda: _snooze(rule, until, person))


def rule_label(rule: str) -> str:
    """A rule in words, as in a list of them."""
    return "All alerts" if rule == ALL else listing.rule_title(rule)


def _snooze(rule: str, until: datetime, by: Person) -> None:
    snoozing.snooze(session.database(), rule, until, by=by, now=utc_now())
    elements.toast_after_rerun(f"{rule_label(rule)}: snoozed {snooze_times.text(until)}.")


def _unsnooze(rule: str, by: Person) -> None:
    snoozing.unsnooze(session.database(), rule, by=by, now=utc_now())
    elements.toast_after_rerun(f"{rule_label(rule)}: no longer snoozed.")


def snoozed(listed: AlertList, now: datetime) -> None:
    """What is snoozed, by whom, each with a way to end that."""
    why = session.may_not_act()
    for rule, snooze in listed.snoozes.items():
        with st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"snoozed_{rule}"):
            label = f"{rule_label(rule)} snoozed until {times.text(snooze.until, now)} by {snooze.by}"
            st.markdown(f":material/snooze: {elements.escape(label)}", width="content")
            if st.button("End snooze", key=f"unsnooze_{rule}", type="tertiary", disabled=why is not None, help=why):
                actors.act("End snooze", functools.partial(_unsnooze, rule))


# The lists


def lasting(listed: AlertList, now: datetime) -> None:
    """The alerts that last, the newest first: what, since when, whether it was sent, and the way there."""
    if not listed.lasting:
        st.caption(":material/check_circle: Nothing is wrong.")
        return
    with st.container(border=True, gap="xsmall", key="lasting_alerts"):
        for alert in listed.lasting[:LISTED]:
            with st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"alert_{alert.id}"):
                with st.container(gap=None, width="stretch"):
                    st.markdown(f"**{elements.escape(listing.heading(alert))}**")
                    state = listed.state(alert, now, session.settings().alerts_quiet)
                    since = f"Since {times.text(alert.began_at, now)}, for {wording.duration(now - alert.began_at)}"
                    icon = ":material/done:" if alert.sent_at else ":material/schedule:"
                    st.caption(f"{since} · {icon} {elements.escape(state[:1].upper() + state[1:])}")
                page_of(alert)
    if rest := listed.lasting[LISTED:]:
        st.caption(f"And {len(rest):,} more: the command “tracking alerts list” has all of them.")


def page_of(alert: Alert) -> None:
    """The way to the page that the alert is about, where there is one."""
    path, _, query = str(alert.detail.get("page", "")).partition("?")
    if path in PAGES:
        file, label = PAGES[path]
        navigation.link(file, label, icon=":material/arrow_forward:", query=_query(query))


def _query(text: str) -> Mapping[str, Any]:
    return {name: values if len(values) > 1 else values[0] for name, values in parse_qs(text).items()}


def past(listed: AlertList, now: datetime) -> None:
    """The alerts that are over, the newest first."""
    if not listed.past:
        st.caption("No alert has ended yet.")
        return
    cells = {
        "what": [listing.heading(alert) for alert in listed.past],
        "began": [alert.began_at for alert in listed.past],
        "lasted": [wording.duration((alert.ended_at or now) - alert.began_at) for alert in listed.past],
        "message": [listed.state(alert, now) for alert in listed.past],
        "services": [", ".join(dict.fromkeys(alert.sent_to + alert.end_sent_to)) for alert in listed.past],
    }
    st.dataframe(
        pd.DataFrame(cells),
        key="past_alerts",
        height="content" if len(listed.past) < PAST_ROWS else ROW_HEIGHT * (PAST_ROWS + 1),
        row_height=ROW_HEIGHT,
        hide_index=True,
        placeholder="",
        column_config={
            "what": st.column_config.TextColumn("What", width=320),
            "began": times.column("Began", width=160),
            "lasted": st.column_config.TextColumn("Lasted", width=110),
            "message": st.column_config.TextColumn("Message", width=280),
            "services": st.column_config.TextColumn("Taken by", width=160),
        },
        alt=f"{wording.count(len(listed.past), 'alert')} that are over, newest first, with what became of each message",
    )


def rules() -> None:
    """The rules: what each tells of, when its message is sent, and when it counts as over.

    A table of text, as a grid would cut on a phone what each rule tells of.
    """
    off = session.settings().alerts_off
    rows = [_rule_row(rule, is_off=rule.name in off) for rule in RULES.values()]
    st.markdown("\n".join(["| Rule (its name in settings) | Message sent | Over |", "| :-- | :-- | :-- |", *rows]))


def _rule_row(rule: Rule, *, is_off: bool) -> str:
    """What the rule tells of, under which name in settings, and its times."""
    badge = " :gray-badge[off]" if is_off else ""
    name, text = elements.escape(rule.name.value), elements.escape(rule.when)
    after = f"after {wording.duration(rule.lasts)}" if rule.lasts else "at once"
    quiet = "even in quiet hours" if rule.urgent else "not in quiet hours"
    over = f"after {wording.duration(rule.clear)}" if rule.clear else "at once"
    return f"| **{elements.escape(rule.title)}** ({name}){badge}: {text} | {after}, {quiet} | {over} |"


with elements.error_box():
    st.header("Alerts", anchor=False)
    current()
    rules()
