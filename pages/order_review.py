"""Review of an order before it is sent, and sending it; an order that costs money is marked as such."""

import json
from collections import Counter

import streamlit as st

import actors
import elements
import order_draft
import order_form
import order_summary
import session
from order_draft import Draft
from tracking.access import Person
from tracking.app.environment import EnvironmentKind
from tracking.orders import wording
from tracking.orders.observations import utc_now
from tracking.reports import amounts
from tracking.reports.logs import calls
from tracking.submissions import submit as submissions
from tracking.submissions.catalog import Catalog, face_values
from tracking.submissions.files import CheckedFile
from tracking.team import approval

QUEUED = "Order queued. It will be sent even if you close this page."
WAITS = "Order placed. It waits for a second operator's approval."
SANDBOX_VISITOR = "Sandbox visitor"
TRIED_AT_MOST = 10  # orders; a larger file is work, and the log says whose
LINES_IN_FULL, LINES_HEIGHT = 7, 360
SUMS_WIDTH = 420


def close() -> None:
    """Remember that the review was closed."""
    order_draft.current().reviewing = False


@st.dialog("Review order", width="medium", position="right", icon=":material/fact_check:", on_dismiss=close)
def open_review(catalogue: Catalog, draft: Draft, checked: CheckedFile) -> None:
    """Open the review of an order without problems."""
    with elements.error_box():
        say_environment()
        st.markdown(f"PO number `{draft.po_number}`")
        lines(catalogue, draft, order_form.TYPE_NAMES[checked.requests[0].type])
        if note := checked.requests[0].note:
            st.caption(f"Note: {elements.escape(note)}")
        order_summary.sums(catalogue, list(checked.requests), width=SUMS_WIDTH)
        caveats(checked)
        say_approval(checked)
        with st.expander("Request as JSON and curl", key="request"):
            text = json.dumps(order_draft.request_body(draft), indent=2, ensure_ascii=False)
            st.code(text, language="json")
            st.code(calls.curl_of({"method": "POST", "path": "/v1/Orders", "request": text}), language="bash")
        order_summary.say_delays()
        by = sender()
        label = (
            f"Send {wording.count(checked.units, 'card')}, {amounts.worth(face_values(checked.requests, catalogue))}"
        )
        if send_button(label, key="send", ready=by is not None) and by:
            send(draft, checked, by)


def lines(catalogue: Catalog, draft: Draft, delivery: str) -> None:
    """The lines, each with its recipient and what goes with it: in sentences, as a cell would cut off a recipient.

    `delivery` names what comes back where there is no recipient.
    """
    with st.container(
        height=LINES_HEIGHT if len(draft.lines) > LINES_IN_FULL else "content", border=True, gap="xsmall"
    ):
        for at, line in enumerate(draft.lines):
            with st.container(gap=None):
                st.markdown(order_summary.line_title(catalogue, line, at))
                st.caption(elements.escape(order_draft.recipient_text(line) or f"{delivery}, for you to pass on"))
                if text := message_text(line):
                    st.caption(elements.escape(text))


def message_text(line: dict[str, dict[str, str]]) -> str:
    """What the recipient of a line reads, and the line's reference."""
    greeting = line["Personalization"]
    parts = {
        "To": "To",
        "From": "FromName",
        "From e-mail": "FromEmail",
        "Message": "Message",
        "Deliver": "DeliveryDate",
    }
    texts = [f"{label}: {greeting[name]}" for label, name in parts.items() if greeting.get(name)]
    return "; ".join([*texts, *([f"Reference: {line['ExternalId']}"] if line.get("ExternalId") else [])])


def say_environment() -> None:
    """Which provider an order goes to."""
    environment = session.environment()
    host = elements.escape(environment.host)
    match environment.kind:
        case EnvironmentKind.SANDBOX:
            st.caption(":material/science: Sandbox: the provider is simulated, nothing real is ordered.")
        case EnvironmentKind.TEST:
            st.info(f"Test account at {host}: orders should cost nothing.", icon=":material/labs:")
        case _:
            st.error(f"Live account at {host}: this order is real and costs money.", icon=":material/bolt:")


def caveats(checked: CheckedFile) -> None:
    """What could not be checked."""
    for text in checked.unchecked:
        st.warning(elements.escape(f"{text[0].upper()}{text[1:]}."), icon=":material/rule:")


def say_approval(checked: CheckedFile) -> bool:
    """Say what of it waits for a second operator before it is sent; tells whether anything does."""
    waits = approval.expected_waits(session.database(), checked.requests)
    if not waits:
        return False
    reasons = Counter(waits.values())
    why = "; ".join(
        reason if len(reasons) == 1 else f"{number:,} {reason}" for reason, number in reasons.most_common(3)
    )
    number = len(waits) if len(checked.requests) > 1 else 0
    what = f"{wording.count(number, 'order')} of {len(checked.requests):,} will" if number else "This order will"
    st.info(
        elements.escape(f"{what} not be sent before a second operator has approved it: {why}."),
        icon=":material/approval:",
    )
    return True


def sender(orders: int = 1) -> Person | None:
    """Who sends so many orders: whoever acts, asked where that matters; to try the sandbox nobody says who they are."""
    if session.may_not_act():
        return None
    if session.environment().kind is EnvironmentKind.SANDBOX and orders <= TRIED_AT_MOST:
        return actors.current() or Person(SANDBOX_VISITOR)
    return actors.field()


def send_button(label: str, key: str, *, ready: bool) -> bool:
    """The button that orders: it names the environment unless that is a sandbox, and has a colour for each."""
    kind, why = session.environment().kind, session.may_not_act()
    environment = "" if kind is EnvironmentKind.SANDBOX else f", {kind}"
    with st.container(key=f"send_{kind}"):
        return st.button(
            elements.escape(f"{label}{environment}"),
            key=key,
            type="primary",
            icon=":material/send:",
            disabled=not ready or why is not None,
            help=why,
        )


def send(draft: Draft, checked: CheckedFile, by: Person) -> None:
    """Commit the order, which a second time changes nothing; the sender does the rest. Ends on the order's page."""
    [receipt] = submissions.submit(session.database(), checked.requests, source="form", by=by, now=utc_now())
    if receipt.outcome == "rejected":
        st.error(elements.escape(receipt.message), title="Not sent")
        return
    if st.session_state.get("draft") is draft:
        order_draft.discard()
    waits = approval.expected_waits(session.database(), checked.requests)
    st.session_state["toast"] = WAITS if waits else QUEUED
    st.switch_page("order.py", query_params={"order": receipt.po_number})
