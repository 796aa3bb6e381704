"""The order that is being put together: its lines, one of which is in the form, over pages, sessions and restarts."""

import contextlib
import copy
import json
import random
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import streamlit as st

import order_scenarios
import session
import times
from tracking.app import drafts
from tracking.errors import StoreError
from tracking.orders.model import Line, OrderRequest
from tracking.orders.observations import utc_now
from tracking.submissions import files
from tracking.submissions import submit as submissions
from tracking.submissions.catalog import Catalog
from tracking.submissions.requests import order_document

# The widgets that belong to the whole order, by their keys.
FIELDS = ("order_type", "order_note", "photo_url", "greeting_url", "scenario", "other_scenario")
MOST_LINES = 100
RECIPIENT_FIELDS = ("Email", "Sms", "Name", "AddressLine1", "City", "State", "Zip", "Country")
# What is of one recipient alone, so that the next line begins without it.
OF_ONE_RECIPIENT = ("Email", "Sms", "Name", "AddressLine1", "AddressLine2", "AddressLine3", "City", "State", "Zip")


@dataclass(slots=True)
class Draft:
    """An order in the making. `lines` are line items in the provider's shape, `at` the place of the one in the form.

    `strict`: what is missing is told too, as somebody wanted to go on. `to_load`: the form is to show the line `at`.
    `wish` is what was pressed, "line" or "review", until it was seen whether it is possible.
    """

    po_number: str
    lines: list[dict[str, Any]] = field(default_factory=list)
    at: int = 0
    strict: bool = False
    to_load: bool = False
    wish: str = ""
    reviewing: bool = False
    restored_from: datetime | None = None
    blank: dict[str, Any] | None = None
    stored: dict[str, Any] | None = None


def current() -> Draft:
    """What has been entered so far, also before the console was restarted or the page opened anew."""
    if "draft" not in st.session_state:
        number = submissions.new_po_number(utc_now(), random.SystemRandom())
        is_next = st.session_state.pop("next_draft", False)
        st.session_state["draft"] = _restored() or Draft(number, to_load=is_next)
    draft: Draft = st.session_state["draft"]
    return draft


def _restored() -> Draft | None:
    """The draft that was stored for this person or browser, with its fields put back into the form."""
    owner = session.draft_owner()
    stored = drafts.load_draft(session.database(), owner, utc_now()) if owner else None
    if stored is None or not stored.content.get("lines"):
        return None
    for name, value in stored.content["fields"].items():
        is_usable = "scenario" not in name or order_scenarios.is_scenario(value or "")
        if name in FIELDS and isinstance(value, str) and is_usable:
            st.session_state[name] = value
    lines = list(stored.content["lines"])
    at = min(stored.content.get("at", len(lines)), len(lines) - 1)
    content = dict(stored.content)
    return Draft(content["po_number"], lines, at, to_load=True, restored_from=stored.saved_at, stored=content)


def say_restored(draft: Draft) -> None:
    """Say where a draft comes from that nobody has entered since this page was opened."""
    if draft.restored_from is None:
        return
    with st.container(horizontal=True, vertical_alignment="center", key="restored"):
        text = f"Your draft was restored, saved {times.text(draft.restored_from)}."
        st.info(text, icon=":material/restore:", width="stretch")
        st.button("Start over", key="discard_draft", icon=":material/delete:", on_click=discard)


def keep(draft: Draft) -> None:
    """Store the draft when it has changed, so that it outlives this process."""
    owner = session.draft_owner()
    fields = {name: st.session_state.get(name) for name in FIELDS}
    content = {"po_number": draft.po_number, "lines": draft.lines, "at": draft.at, "fields": fields}
    if draft.blank is None:
        draft.blank = copy.deepcopy(content if draft.restored_from is None else {})
    is_blank = content == draft.blank
    if owner is None and not is_blank:
        st.caption("This browser accepts no cookies, so the draft would not survive a restart of the console.")
    if owner is None or content == draft.stored or (is_blank and draft.stored is None):
        return
    try:
        if is_blank:
            drafts.delete_draft(session.database(), owner, utc_now())
        elif not drafts.save_draft(session.database(), owner, content, utc_now()):
            st.caption("This draft is too large to survive a restart of the console.")
        draft.stored = copy.deepcopy(content)
    except StoreError:
        st.caption("This draft could not be saved just now; it would not survive a restart of the console.")


def discard() -> None:
    """End the draft; the next one has a PO number of its own, and its form is empty."""
    del st.session_state["draft"]
    st.session_state["next_draft"] = True
    if owner := session.draft_owner():
        with contextlib.suppress(StoreError):  # it is not offered again once its order is there, and ends by itself
            drafts.delete_draft(session.database(), owner, utc_now())


def wish(what: str) -> None:
    """Remember what was pressed: from now on, what is missing is told too."""
    draft = current()
    draft.wish, draft.strict = what, True


def next_line(draft: Draft) -> None:
    """Go on with another line, like the one in the form but for its recipient."""
    line = copy.deepcopy(draft.lines[draft.at]) | {"ExternalId": ""}
    for group in ("DigitalDeliveryAddress", "PhysicalDeliveryAddress"):
        if group in line:
            line[group] |= {name: "" for name in OF_ONE_RECIPIENT if name in line[group]}
    line["Personalization"] |= {"To": ""}
    draft.lines.append(line)
    draft.strict = False
    show(len(draft.lines) - 1)


def show(at: int) -> None:
    """Put the line at this place into the form."""
    draft = current()
    draft.at, draft.to_load = at, True


def remove(at: int) -> None:
    """Remove the line at this place; where it is in the form, that goes on with the line before."""
    draft = current()
    del draft.lines[at]
    if at == draft.at:
        show(max(at - 1, 0))
    elif at < draft.at:
        draft.at -= 1


def recipient_text(line: dict[str, Any]) -> str:
    """To whom the line goes, as it was entered; empty for claim links and codes."""
    address = line.get("DigitalDeliveryAddress") or line.get("PhysicalDeliveryAddress") or {}
    return ", ".join(str(address[name]) for name in RECIPIENT_FIELDS if address.get(name))


def request_body(draft: Draft) -> dict[str, Any]:
    """The draft in the provider's shape."""
    entered = st.session_state
    return order_document(
        order_type=entered.get("order_type"),
        po_number=draft.po_number,
        lines=draft.lines,
        note=" ".join(filter(None, (entered.get("order_note"), order_scenarios.note_tag()))),
        photo_url=entered.get("photo_url"),
        greeting_url=entered.get("greeting_url"),
    )


def check(draft: Draft, catalogue: Catalog) -> files.CheckedFile:
    """The draft as it would be sent, with every problem."""
    return files.read_json(json.dumps(request_body(draft)).encode(), "form", catalog=catalogue)


def has_amounts(line: dict[str, Any]) -> bool:
    """Whether value and quantity of the line are numbers: what is none stands there as it was entered."""
    return not isinstance(line["Value"], str) and not isinstance(line["Quantity"], str)


def as_request(draft: Draft) -> OrderRequest:
    """The draft's amounts, which all lines have, whatever else is wrong with it: for sums, and never sent."""
    lines = (
        Line(number, line["ProductId"], round(line["Value"] * 100), line["Quantity"])
        for number, line in enumerate(draft.lines, start=1)
    )
    return OrderRequest(draft.po_number, str(st.session_state.get("order_type")), tuple(lines), {})
