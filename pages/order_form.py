"""The order that is being put together: its PONumber, its shape, the same request for a terminal, an example file."""

import contextlib
import copy
import functools
import json
import random
from datetime import datetime
from typing import Any

import pandas as pd
import streamlit as st

import elements
import session
from tracking.app import drafts, embedded_sandbox
from tracking.errors import StoreError
from tracking.orders import wording
from tracking.orders.model import OrderType
from tracking.orders.observations import utc_now
from tracking.reports import amounts, health
from tracking.submissions import catalog, csv_rows, files, results
from tracking.submissions import submit as submissions
from tracking.submissions.requests import order_document

# The widgets that belong to the whole order, by their keys.
FIELDS = ("order_type", "order_note", "photo_url", "greeting_url", "scenario")
TEMPLATES = {
    "DigitalDelivery": {"Email": "someone@example.com"},
    "Links": {},
    "PhysicalShipment": {
        "ShippingMethodId": "STANDARD", "Name": "A. Person", "AddressLine1": "1 Main Street", "City": "Boston",
        "State": "MA", "Zip": "02101", "Country": "US",
    },
}  # fmt: skip
RECIPIENT_FIELDS = ("Email", "Sms", "Name", "AddressLine1", "City", "State", "Zip", "Country")
# The widgets of the form by the field that each fills.
WRITTEN_FIELDS = {"to": "To", "from_name": "FromName", "from_email": "FromEmail", "message": "Message"}
ADDRESS_KEYS = {"ShippingMethodId": "shipping_method", "CarrierId": "carrier"}
# What is of one recipient alone, so that the next line begins without it.
OF_ONE_RECIPIENT = (
    "email", "sms", "to", "external_id",
    *(f"address_{name}" for name in ("Name", "AddressLine1", "AddressLine2", "AddressLine3", "City", "State", "Zip")),
)  # fmt: skip
DELIVERY_FORM = "%Y-%m-%dT%H:%M:%SZ"


def draft() -> dict[str, Any]:
    """What has been entered so far, also before the console was restarted or the page opened anew."""
    if "draft" not in st.session_state:
        number = submissions.new_po_number(utc_now(), random.SystemRandom())
        st.session_state["draft"] = restored() or {"po_number": number, "lines": [], "reviewing": False}
    stored: dict[str, Any] = st.session_state["draft"]
    return stored


def restored() -> dict[str, Any] | None:
    """The draft that was stored for this person or browser, with its fields put back into the form."""
    owner = session.draft_owner()
    stored = drafts.load_draft(session.database(), owner, utc_now()) if owner else None
    if stored is None or not stored.content.get("lines"):
        return None
    for name, value in stored.content["fields"].items():
        if name in FIELDS and isinstance(value, str) and (name != "scenario" or value in embedded_sandbox.note_words()):
            st.session_state[name] = value
    lines, number = list(stored.content["lines"]), stored.content["po_number"]
    return {"po_number": number, "lines": lines, "reviewing": False, "restored_from": stored.saved_at}


def say_restored(order: dict[str, Any]) -> None:
    """Says where a draft comes from that nobody has entered since this page was opened."""
    if saved_at := order.get("restored_from"):
        st.info(
            f"It was put together before this page was opened or the console restarted, and saved at "
            f"{wording.clock(saved_at, utc_now())} UTC. A line that was not added yet is not part of it.",
            title="Your draft is here again",
            icon=":material/restore:",
        )
        st.button("Begin anew", key="discard_draft", icon=":material/delete:", on_click=discard)


def keep(order: dict[str, Any]) -> None:
    """Stores the draft when it has changed, so that it outlives this process."""
    owner = session.draft_owner()
    fields = {name: st.session_state.get(name) for name in FIELDS}
    content = {"po_number": order["po_number"], "lines": order["lines"], "fields": fields}
    if owner is None and order["lines"]:
        st.caption("This browser takes no cookie, so the draft would not outlive a restart of the console.")
    if owner is None or content == order.get("kept") or not (order["lines"] or order.get("kept")):
        return
    try:
        if order["lines"]:
            if not drafts.save_draft(session.database(), owner, content, utc_now()):
                st.caption("This draft is too large to outlive a restart of the console.")
        else:
            drafts.delete_draft(session.database(), owner, utc_now())
        order["kept"] = copy.deepcopy(content)
    except StoreError:
        st.caption("This draft could not be saved just now; it would not outlive a restart of the console.")


def prepare_line() -> None:
    """Empties the recipient's fields once after a line was added: a second click must not add the same one again."""
    if st.session_state.pop("line_added", False):
        st.session_state.update(dict.fromkeys(OF_ONE_RECIPIENT, ""))


def add_line(catalogue: catalog.Catalog, kind: str, order: dict[str, Any], line: dict[str, Any]) -> None:
    """Adds the line to the draft and draws the page anew, or says what is wrong with it."""
    body = order_document(order_type=kind, po_number=order["po_number"], lines=[line])
    if problems := files.read_json(json.dumps(body).encode(), "form", catalog=catalogue).problems:
        named = "\n".join(f"- {elements.escape(str(problem).removeprefix('LineItems[0].'))}" for problem in problems)
        st.error(named, title="The line was not added")
        return
    order["lines"].append(line)
    order["reviewing"] = False
    st.session_state["line_added"] = True
    st.rerun()


def lines_table(catalogue: catalog.Catalog, order: dict[str, Any], key: str) -> None:
    """The lines so far, and to whom each goes."""
    rows = [
        {
            "line": number,
            "product": line["ProductId"],
            "value": line_value(catalogue, line),
            "quantity": line["Quantity"],
            "recipient": recipient_text(line),
        }
        for number, line in enumerate(order["lines"], start=1)
    ]
    frame = pd.DataFrame(rows)
    config = elements.columns(frame) | {"value": st.column_config.TextColumn("Value", alignment="right")}
    st.dataframe(frame, key=key, hide_index=True, column_config=config, placeholder="", alt="Lines of this order")


def line_actions(catalogue: catalog.Catalog, order: dict[str, Any]) -> None:
    """Any line can be taken back into the form above, or taken away."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        number = st.selectbox("Line", range(len(order["lines"]), 0, -1), key="picked_line", width=100)
        changes, removes = (functools.partial(act, number) for act in (change_line, remove_line))
        label = "Change this line: back into the form"
        st.button(label, key="change_line", icon=":material/edit:", on_click=changes, args=(catalogue,))
        st.button("Remove this line", key="remove_line", icon=":material/delete:", on_click=removes)


def recipient_text(line: dict[str, Any]) -> str:
    """To whom the line goes, as it was entered."""
    address = line.get("DigitalDeliveryAddress") or line.get("PhysicalDeliveryAddress") or {}
    return ", ".join(str(address[name]) for name in RECIPIENT_FIELDS if address.get(name))


def remove_line(number: int) -> None:
    """Takes the line of this number, from 1, away."""
    order = draft()
    order["lines"] = [line for place, line in enumerate(order["lines"], start=1) if place != number]
    order["reviewing"] = False


def change_line(number: int, catalogue: catalog.Catalog) -> None:
    """Takes the line back into the form, from where it is added again."""
    line = draft()["lines"][number - 1]
    remove_line(number)
    product = catalogue.products.get(line["ProductId"])
    fixed = product is not None and product.denomination_type == "Fixed" and product.denominations
    address = line.get("PhysicalDeliveryAddress", {})
    written = line["Personalization"]
    when = written.get("DeliveryDate")
    entered = {
        "product_id": line["ProductId"],
        f"value_{line['ProductId']}": round(line["Value"] * 100) if fixed else line["Value"],
        "quantity": line["Quantity"],
        "external_id": line["ExternalId"],
        "delivery_date": datetime.fromisoformat(when.removesuffix("Z")) if when else None,
        **{key: written[name] for key, name in WRITTEN_FIELDS.items()},
        **{name.lower(): text for name, text in line.get("DigitalDeliveryAddress", {}).items()},
        **{ADDRESS_KEYS.get(name, f"address_{name}"): text for name, text in address.items()},
    }
    st.session_state.update(entered)


def discard() -> None:
    """Ends the draft; the next one gets a PONumber of its own."""
    del st.session_state["draft"]
    if owner := session.draft_owner():
        with contextlib.suppress(StoreError):  # it is not offered again once its order is there, and ends by itself
            drafts.delete_draft(session.database(), owner, utc_now())


def request_body(order: dict[str, Any]) -> dict[str, Any]:
    """The draft in the provider's shape."""
    entered = st.session_state
    return order_document(
        order_type=entered.get("order_type"),
        po_number=order["po_number"],
        lines=order["lines"],
        note=" ".join(filter(None, (entered.get("order_note"), scenario_tag()))),
        photo_url=entered.get("photo_url"),
        greeting_url=entered.get("greeting_url"),
    )


def scenario_tag() -> str:
    """The word by which the sandbox knows how to behave; only the sandbox reads it."""
    picked = st.session_state.get("scenario") if session.settings().embedded_sandbox else ""
    return f"[{picked}]" if picked else ""


def line_value(catalogue: catalog.Catalog, line: dict[str, Any]) -> str:
    """The value of one card of the line, with the currency of its product."""
    product = catalogue.products.get(line["ProductId"])
    return wording.money(round(line["Value"] * 100), product.currency_code if product else "")


def totals(catalogue: catalog.Catalog, checked: files.CheckedFile) -> None:
    """What it comes to by currency, beside what the account holds."""
    face = catalog.face_values(checked.requests, catalogue)
    with st.grid("auto", min_column_width=250):
        st.metric("Cards", f"{checked.units:,}", border=True)
        elements.figure("Face value", amounts.worth(face))
        cost = amounts.worth(catalogue.quote(checked.requests))
        by_post = any(request.type == OrderType.PHYSICAL for request in checked.requests)
        label = "Probable cost without postage" if by_post else "Probable cost"
        elements.figure(label, cost, help_text="The provider's figure decides.")
        elements.figure("Balance", balance(catalogue.only_currency))
    if len(face) > 1:
        st.warning("This order has several currencies, each added up for itself.", icon=":material/currency_exchange:")


def balance(currency: str) -> str:
    """What the account holds, as last read. The provider names no currency: it is that of all that it sells, if any."""
    current = health.balance(session.database())
    if current is None:
        return "not read yet"
    if current.available_minor is None:
        return "not offered"
    return wording.money(current.available_minor, currency)


def curl(text: str) -> str:
    """The same request for a terminal, with placeholders for what is secret."""
    quoted = text.replace("'", "'\\''")
    return (
        'curl -X POST "$BASE_URL/v1/Orders" \\\n'
        '  -H "Authorization: Bearer $TOKEN" \\\n'
        '  -H "Content-Type: application/json" \\\n'
        f"  -d '{quoted}'"
    )


def template() -> bytes:
    """An example of each type, with all columns."""
    rows = [
        {"Type": kind, "ProductId": "AMAZON", "Value": 10, "Quantity": 1, **more} for kind, more in TEMPLATES.items()
    ]
    return results.spreadsheet_file(pd.DataFrame(rows, columns=list(csv_rows.CSV_COLUMNS)))
