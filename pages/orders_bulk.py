"""The drawer of acts on many orders: choose the act, see its plan, start the job."""

import functools
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlencode

import streamlit as st

import actors
import elements
import job_words
import order_work
import orders_table
import recording
import session
import snooze_times
from tracking.access import Person
from tracking.errors import InvalidNote
from tracking.orders import wording
from tracking.orders.observations import utc_now
from tracking.reports import amounts
from tracking.reports.order_list.filters import Filters
from tracking.team import jobs
from tracking.team.plans import CALLS, MOST_ORDERS, Act, Parameters, Plan, check_parameters, least_time, plan

OFFERED = (Act.ACKNOWLEDGE, Act.SNOOZE, Act.ASSIGN, Act.POLL, Act.RESEND, Act.REOPEN, Act.END_SNOOZE)
LABELS = {act: job_words.VERBS[act] for act in OFFERED} | {Act.POLL: "Poll now", Act.END_SNOOZE: "End snooze"}
ICONS = {
    Act.ACKNOWLEDGE: "task_alt", Act.SNOOZE: "snooze", Act.ASSIGN: "person_add", Act.POLL: "refresh",
    Act.RESEND: "send", Act.REOPEN: "undo", Act.END_SNOOZE: "alarm_on",
}  # fmt: skip
PLAN_HEIGHT = 170  # pixels; fixed, so that the button stays where it is while the plan changes
REASONS_LISTED = 4
WIDTH = 520
PLANNED = "bulk_planned"  # what the drawer said last, and of what


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which orders, and in words; `key` is that of one opening of the drawer: its button, pressed twice, is one job."""

    filters: Filters
    words: str
    act: Act
    key: str


@dataclass(frozen=True, slots=True)
class Entered:
    """What was entered for the act; `missing` says what is not."""

    parameters: Parameters
    missing: str | None = None


def label(act: Act) -> str:
    """The act as a choice, with its icon."""
    return f":material/{ICONS[act]}: {LABELS[act]}"


def open_drawer(filters: Filters, words: str, act: Act) -> None:
    """Open the drawer for these orders, with the act that was asked for."""
    _drawer(Chosen(replace(filters, page=1), words, act, uuid.uuid4().hex))


@elements.dialog("Act on many orders", icon=":material/checklist:", position="right", width=WIDTH)
def _drawer(chosen: Chosen) -> None:
    st.markdown(f"**{elements.escape(chosen.words)}**")
    act = st.pills("What to do", OFFERED, default=chosen.act, required=True, format_func=label, key="bulk_act")
    _decide(chosen, act, _PARAMETERS.get(act, _nothing)())


@elements.live("5s", "bulk_decision")
def _decide(chosen: Chosen, act: Act, entered: Entered) -> None:
    """What would be done, redrawn as colleagues change the orders, and the button that does it."""
    with elements.error_box():
        foreseen = plan(
            session.database(), chosen.filters, act, entered.parameters, now=utc_now(),
            max_rate=session.settings().api_max_rate,
        )  # fmt: skip
    _draw_plan(act, foreseen)
    person = actors.field()
    missing = _why_not(foreseen) or entered.missing or _refused(act, entered.parameters)
    changed = _changed_since(chosen, act, entered.parameters, foreseen)
    text = job_words.naming(act, foreseen.acting)
    pressed = st.button(
        elements.spending_label(text) if act is Act.RESEND else text, key="bulk_start", type="primary",
        icon=f":material/{ICONS[act]}:", disabled=missing is not None, help=missing,
    )  # fmt: skip
    if missing:
        st.caption(missing)
    if pressed and changed:
        st.warning(f"{changed} Press again if that is right.", icon=":material/sync_problem:")
    elif pressed and actors.is_named(person):
        elements.attempt(functools.partial(_start, chosen, act, entered.parameters, person))


def _start(chosen: Chosen, act: Act, parameters: Parameters, by: Person) -> None:
    """Start the job, and go to its page."""
    started = jobs.start(
        session.database(), chosen.filters, act, parameters, key=chosen.key, by=by, now=utc_now(),
        secret=recording.secret(),
    )  # fmt: skip
    orders_table.new_turn()
    # Streamlit puts these on the list's own address first, where Back leads: they name the list to be put back there.
    left = urlencode(st.session_state.get("orders_filter") or {"page": "1"}, doseq=True)
    st.switch_page("jobs.py", query_params={"job": str(started), "list": left})


def _changed_since(chosen: Chosen, act: Act, parameters: Parameters, foreseen: Plan) -> str | None:
    """What has changed since the plan on which somebody decided was drawn; None where it is as it was."""
    asked, number = (chosen.key, act, parameters), (foreseen.acting, foreseen.total)
    before, st.session_state[PLANNED] = st.session_state.get(PLANNED), (asked, number)
    if before is None or before == (asked, number) or before[0] != asked:
        return None
    (acting, total), now = before[1], f"{foreseen.acting:,} of {foreseen.total:,}"
    return f"The orders have changed meanwhile: it was {acting:,} of {total:,}, and is {now} now."


def _why_not(foreseen: Plan) -> str | None:
    if foreseen.too_many:
        return f"More than {MOST_ORDERS:,} orders match: narrow the filter."
    return None if foreseen.acting else "None of these orders would be changed."


def _refused(act: Act, parameters: Parameters) -> str | None:
    """Why the act would be refused as it was entered; None where it would not."""
    try:
        check_parameters(act, parameters, utc_now())
    except InvalidNote as exc:
        return elements.escape("; ".join(str(problem) for problem in exc.problems))
    return None


def _draw_plan(act: Act, foreseen: Plan) -> None:
    """What would be done, what would be skipped and why, and what it costs."""
    with st.container(border=True, height=PLAN_HEIGHT, key="bulk_plan", gap="xsmall"):
        if foreseen.too_many:
            st.warning(f"More than {MOST_ORDERS:,} orders match: narrow the filter.", icon=":material/filter_alt:")
            return
        worth = f", worth {amounts.worth(foreseen.values)}" if foreseen.values else ""
        would = f"of {wording.count(foreseen.total, 'order')} would be {job_words.PAST[act]}{worth}"
        st.markdown(f"**{foreseen.acting:,}** {elements.escape(would)}")
        skipped = list(foreseen.skipped.items())
        for why, number in skipped[:REASONS_LISTED]:
            st.caption(f"{number:,} skipped: {elements.escape(why)}")
        if rest := sum(number for _, number in skipped[REASONS_LISTED:]):
            st.caption(f"{rest:,} skipped for other reasons")
        st.caption(_cost(act, foreseen))


def _cost(act: Act, foreseen: Plan) -> str:
    if not foreseen.acting:
        return "Nothing would be done."
    calls = wording.count(foreseen.calls, "API call") if act in CALLS else "No API calls"
    share = ", at half of the rate limit" if act in CALLS else ""
    return f":material/timer: {calls}; takes {least_time(foreseen)} or more{share}. It can be stopped."


# What each act needs


def _nothing() -> Entered:
    return Entered(Parameters())


def _acknowledgement() -> Entered:
    """A reason of the team's, words, or both."""
    reason = st.pills("Reason", session.settings().reasons, format_func=elements.escape, key="bulk_reason")
    words = (st.text_input("Details", key="bulk_words", placeholder="optional, or in place of a reason") or "").strip()
    text = ": ".join(part for part in (reason, words) if part)
    return Entered(Parameters(reason=text or None), None if text else "Choose a reason, or enter a few words.")


def _snooze() -> Entered:
    offered = snooze_times.choices(utc_now())
    word = st.pills(
        "Until", [*offered, snooze_times.DATE], default="tomorrow", required=True, key="bulk_until",
        format_func=lambda word: offered[word].label if word in offered else "A date and time",
    )  # fmt: skip
    if word != snooze_times.DATE:
        return Entered(Parameters(until=offered[word].at if word in offered else None))
    until = snooze_times.field("bulk_date")
    return Entered(Parameters(until=until), None if until else "Choose a date and a time that is yet to come.")


def _assignment() -> Entered:
    me = actors.name()
    names = [*([me] if me else []), *order_work.people(), order_work.NOBODY]
    name = st.selectbox(
        "Assign to", names, format_func=lambda name: f"{name} (me)" if name and name == me else name or "Nobody",
        accept_new_options=True, key="bulk_assignee", help="Choose a name, or type another one.",
    )  # fmt: skip
    return Entered(Parameters(assignee=name or None))


_PARAMETERS: Mapping[Act, Callable[[], Entered]] = {
    Act.ACKNOWLEDGE: _acknowledgement, Act.SNOOZE: _snooze, Act.ASSIGN: _assignment,
}  # fmt: skip
