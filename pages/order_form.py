"""The form of one order: its type, one line with its recipient, what holds for all lines; errors at their fields."""

import functools
import re
from collections import Counter
from datetime import datetime
from typing import Any

import streamlit as st

import elements
import order_draft
import order_scenarios
import orders_filters
from order_draft import Draft
from tracking.orders import wording
from tracking.orders.model import OrderType
from tracking.submissions.catalog import Catalog, Product
from tracking.submissions.checks.amounts import amount_or_text, whole_or_text
from tracking.submissions.checks.findings import sentence
from tracking.submissions.files import CheckedFile

TYPE_NAMES = {
    "Links": "Claim links",
    "DigitalDelivery": "E-mail or text message",
    "PhysicalShipment": "Cards by post",
    "Codes": "Codes",
}
TYPES_ELSEWHERE = f"In lists and filters: {', '.join(map(orders_filters.type_label, TYPE_NAMES))}."
# The fields by their names at the provider: the key of the widget and its label.
DIGITAL = {"Email": ("email", "E-mail"), "Sms": ("sms", "Mobile (SMS)")}
POSTAL = {
    "Name": ("address_Name", "Name"),
    "AddressLine1": ("address_AddressLine1", "Street and number"),
    "AddressLine2": ("address_AddressLine2", "Address line 2"),
    "AddressLine3": ("address_AddressLine3", "Address line 3"),
    "City": ("address_City", "City"),
    "State": ("address_State", "State (2 letters)"),
    "Zip": ("address_Zip", "ZIP or postal code"),
    "Country": ("address_Country", "Country (2 letters)"),
}
GREETING = {
    "To": ("to", "To"),
    "FromName": ("from_name", "From"),
    "FromEmail": ("from_email", "From, e-mail"),
}
PICTURES = {"PhotoUrl": ("photo_url", "Photo address"), "GreetingUrl": ("greeting_url", "Greeting address")}
TEXT_FIELDS = DIGITAL | POSTAL | GREETING | PICTURES
OTHER_LABELS = {
    "DigitalDeliveryAddress": "E-mail or mobile (SMS)", "ProductId": "Product", "Value": "Value",
    "Quantity": "Quantity",
    "ExternalId": "Reference", "Message": "Message", "DeliveryDate": "Deliver at", "Note": "Note",
    "ShippingMethodId": "Shipping method", "CarrierId": "Carrier",
}  # fmt: skip
EXPANDED_FIELDS = (*GREETING, "Message", "DeliveryDate", "ExternalId")
USUAL_VALUE = 10.0
DELIVERY_FORM = "%Y-%m-%dT%H:%M:%SZ"
# Each field has `persist_state`: one that a browser shows anew, as a run was cut short, begins with what was entered.
Places = dict[str, Any]
"""Where the problems of each field are written: below it."""


def draw(catalogue: Catalog, draft: Draft) -> Places:
    """The form; the line in it becomes the draft's. Returns where the problems of each field are to be written."""
    places: Places = {}
    prepare(catalogue, draft)
    if order_scenarios.is_offered():
        order_scenarios.picker()
    kind = pick_type(catalogue, draft)
    with st.container(border=True, key="line"):
        if len(draft.lines) > 1:
            st.markdown(f"**Line {draft.at + 1} of {len(draft.lines)}**")
        if draw_line(catalogue, kind, places):
            line = entered_line(catalogue)
            draft.lines[draft.at : draft.at + 1] = [line]
            label, most = "Add another line", order_draft.MOST_LINES
            too_many = (
                f"An order of more than {most} lines comes from a CSV file." if len(draft.lines) >= most else None
            )
            st.button(
                label, key="add_line", icon=":material/add:", on_click=order_draft.wish, args=("line",),
                disabled=bool(too_many), help=too_many,
            )  # fmt: skip
    draw_rest(places)
    return places


# What the form begins with


def prepare(catalogue: Catalog, draft: Draft) -> None:
    """Fill the form before it is drawn: from the draft where this page was left, or another line was picked.

    Who comes back to the page is shown the draft, whatever is left of the fields since: the browser drops what it had.
    """
    comes_back = bool(draft.lines and st.session_state.get("entered"))
    if not draft.to_load and not comes_back and "quantity" in st.session_state:
        return
    if draft.lines:
        load(catalogue, draft.lines[draft.at])
    elif draft.to_load:
        names = [key for key, _ in TEXT_FIELDS.values()]
        blank = dict.fromkeys((*names, "external_id", "message", "order_note", "scenario"), "")
        st.session_state.update(blank | {"quantity": "1", "delivery_date": None, "address_Country": "US"})
    draft.to_load = False


def load(catalogue: Catalog, line: dict[str, Any]) -> None:
    """Put the line into the form, as far as the catalogue still offers what it is made of."""
    greeting, external_id = line["Personalization"], line["ExternalId"]
    given = line.get("DigitalDeliveryAddress", {}) | line.get("PhysicalDeliveryAddress", {}) | greeting
    entered = {key: given.get(name, "") for name, (key, _) in (DIGITAL | POSTAL | GREETING).items()}
    entered["address_Country"] = given.get("Country", "US")
    when = greeting.get("DeliveryDate")
    entered |= {"quantity": str(line["Quantity"]), "external_id": external_id, "message": greeting.get("Message", "")}
    entered["delivery_date"] = datetime.fromisoformat(when.removesuffix("Z")) if when else None
    entered["more_of_line"] = bool(external_id or any(greeting.values()))
    offered = {"ShippingMethodId": catalogue.shipping_methods, "CarrierId": catalogue.carriers}
    for name, choices in offered.items():
        if given.get(name) and (not choices or given[name] in {str(choice["id"]) for choice in choices}):
            entered[name] = given[name]
    if product := catalogue.products.get(line["ProductId"]):
        entered |= {"product_id": product.id} | loaded_value(product, line["Value"])
    st.session_state.update(entered)


def loaded_value(product: Product, value: float | str) -> dict[str, Any]:
    """The widget of the product's value: the amount in the list, where it holds it, or the text as it was entered."""
    key = f"value_{product.id}"
    if not is_listed(product):
        return {key: value if isinstance(value, str) else value_text(product, value)}
    minor = 0 if isinstance(value, str) else round(value * 100)
    return {key: minor} if minor in product.denominations else {}


def value_text(product: Product, value: float) -> str:
    """An amount as the field of this product begins with it."""
    comes_whole = wording.decimals(product.currency) == 0 or product.denomination_type == "VariableNoCents"
    return f"{value:.0f}" if comes_whole and value == int(value) else f"{value:.2f}"


def is_listed(product: Product) -> bool:
    """Whether the product's amounts are picked from a list."""
    return product.denomination_type == "Fixed" and bool(product.denominations)


# What it holds


def entered_line(catalogue: Catalog) -> dict[str, Any]:
    """The line in the form, as it stands: a line item in the provider's shape, with its empty texts."""
    entered = st.session_state
    product = catalogue.products[entered["product_id"]]
    value = entered[f"value_{product.id}"]
    line: dict[str, Any] = {
        "ProductId": product.id,
        "Value": value / 100 if is_listed(product) else amount_or_text(value),
        "Quantity": whole_or_text(entered["quantity"]),
        "ExternalId": entered["external_id"],
    }
    kind = entered["order_type"]
    if kind == OrderType.DIGITAL:
        line["DigitalDeliveryAddress"] = texts(DIGITAL)
    elif kind == OrderType.PHYSICAL:
        ids = {name: entered.get(name) or "" for name in ("ShippingMethodId", "CarrierId")}
        line["PhysicalDeliveryAddress"] = ids | texts(POSTAL)
    line["Personalization"] = texts(GREETING) | {"Message": entered["message"]}
    if kind == OrderType.DIGITAL and (when := entered.get("delivery_date")):
        line["Personalization"]["DeliveryDate"] = when.strftime(DELIVERY_FORM)
    return line


def texts(fields: dict[str, tuple[str, str]]) -> dict[str, str]:
    """What the text fields hold, by their names at the provider."""
    return {name: st.session_state.get(key) or "" for name, (key, _) in fields.items()}


def edit(catalogue: Catalog, at: int) -> None:
    """Keep the line in the form as it stands, and show the one at this place."""
    draft = order_draft.current()
    draft.lines[draft.at] = entered_line(catalogue)
    order_draft.show(at)


# How it is drawn


def pick_type(catalogue: Catalog, draft: Draft) -> str:
    """How the cards are delivered, the same for all lines; claim links, which need no recipient, come first."""
    offered = {kind for product in catalogue.products.values() for kind in product.delivery_types}
    kinds = [kind for kind in TYPE_NAMES if kind != OrderType.CODES or kind in offered]
    if st.session_state.get("order_type") not in kinds:  # nothing yet, or of a draft from before the catalogue changed
        st.session_state["order_type"] = kinds[0]
    several = len(draft.lines) > 1
    picked = st.segmented_control(
        "Type",
        kinds,
        key="order_type",
        required=True,
        format_func=lambda word: TYPE_NAMES[word],
        disabled=several,
        persist_state="session",
        wrap=True,
        help=f"All lines of an order are of one type. {TYPES_ELSEWHERE}" if several else TYPES_ELSEWHERE,
    )
    return picked or kinds[0]


def draw_line(catalogue: Catalog, kind: str, places: Places) -> bool:
    """Product, amount, quantity, and where it goes; False where the catalogue holds nothing of this type."""
    products = catalogue.products.values()
    names = {
        product.id: wording.plain(f"{product.name} ({product.id})")
        for product in products
        if not product.delivery_types or kind in product.delivery_types
    }
    if not names:
        st.warning("The catalogue has no product of this type.", icon=":material/inventory_2:")
        return False
    first, second, third = st.columns([5, 3, 2])
    with first:
        picked = st.selectbox(
            "Product", list(names), key="product_id", persist_state="page", format_func=lambda known: names[known]
        )
        places["ProductId"] = st.container()
    with second:
        draw_value(catalogue.products[picked])
        places["Value"] = st.container()
    with third:
        st.session_state.setdefault("quantity", "1")
        st.text_input("Quantity", key="quantity", persist_state="page")
        places["Quantity"] = st.container()
    if kind == OrderType.DIGITAL:
        draw_texts(DIGITAL, places)
    elif kind == OrderType.PHYSICAL:
        draw_address(catalogue, places)
    draw_personalization(kind, places)
    return True


def draw_value(product: Product) -> None:
    """An amount that the product comes in: picked, or written as a text and judged here.

    A field for numbers, like one for so many letters, drops in the browser what does not fit, and says nothing.
    """
    denominations = product.denominations
    label = f"Value, {elements.escape(product.currency)}" if product.currency else "Value, currency unknown"
    amount = functools.partial(wording.amount, currency=product.currency)
    if is_listed(product):
        st.selectbox(label, denominations, key=f"value_{product.id}", persist_state="page", format_func=amount)
        return
    low, high = (denominations[0] / 100, denominations[-1] / 100) if denominations else (0.01, 10_000.0)
    st.session_state.setdefault(f"value_{product.id}", value_text(product, min(max(low, USUAL_VALUE), high)))
    st.text_input(label, key=f"value_{product.id}", persist_state="page")


def draw_texts(fields: dict[str, tuple[str, str]], places: Places, *, width: int = 220) -> None:
    """Text fields side by side, as many as there is room for."""
    with st.grid("auto", min_column_width=width) as grid:
        for name, (key, label) in fields.items():
            with grid.cell(), st.container(gap="xxsmall"):
                st.text_input(label, key=key, persist_state="page")  # another type may hide it
                places[name] = st.container()


def draw_address(catalogue: Catalog, places: Places) -> None:
    """How a parcel is shipped, and where to."""
    currency = catalogue.only_currency
    methods = distinct({str(method["id"]): describe(method, currency) for method in catalogue.shipping_methods})
    names = {str(carrier["id"]): str(carrier.get("name") or carrier["id"]) for carrier in catalogue.carriers}
    carriers = distinct({"": "Default"} | names)
    st.session_state.setdefault("address_Country", "US")
    if not methods:
        st.session_state.setdefault("ShippingMethodId", "STANDARD")
    left, right = st.columns(2)
    with left:
        if methods:
            label_of = methods.__getitem__
            st.selectbox(
                "Shipping method", list(methods), key="ShippingMethodId", persist_state="page", format_func=label_of
            )
        else:
            st.text_input("Shipping method ID", key="ShippingMethodId", persist_state="page")
        places["ShippingMethodId"] = st.container()
    with right:
        st.selectbox("Carrier", list(carriers), key="CarrierId", persist_state="page", format_func=carriers.__getitem__)
        places["CarrierId"] = st.container()
    draw_texts(POSTAL, places, width=190)


def distinct(labels: dict[str, str]) -> dict[str, str]:
    """The labels by their ids, with the id where two are alike: a list tells its choices apart by their labels."""
    counts = Counter(labels.values())
    return {key: f"{label} ({key})" if key and counts[label] > 1 else label for key, label in labels.items()}


def describe(method: Any, currency: str) -> str:
    """A shipping method with its cost."""
    cost = method.get("cost_minor")
    text = str(method.get("description") or method["id"])
    return f"{text}, {wording.money(cost, currency)}" if cost is not None else text


def draw_personalization(kind: str, places: Places) -> None:
    """The line's reference, and what its recipient reads."""
    if st.session_state.pop("open_more", False):
        st.session_state["more_of_line"] = True
    with st.expander("Reference and message", key="more_of_line", on_change="rerun"):
        left, right = st.columns(2)
        with left:
            st.text_input("Reference (ExternalId)", key="external_id", persist_state="page")
            places["ExternalId"] = st.container()
        with right:
            if kind == OrderType.DIGITAL:
                st.datetime_input(
                    "Deliver at, UTC (leave empty for now)", value=None, key="delivery_date", persist_state="page"
                )
            places["DeliveryDate"] = st.container()
        draw_texts(GREETING, places, width=180)
        st.text_area("Message", key="message", height=90, persist_state="page")
        places["Message"] = st.container()


def draw_rest(places: Places) -> None:
    """What holds for all lines."""
    st.text_input("Note", key="order_note", persist_state="session")
    places["Note"] = st.container()
    if st.session_state.pop("open_pictures", False):
        st.session_state["pictures"] = True
    with st.expander("Pictures for the whole order", key="pictures", on_change="rerun"):
        for name, (key, label) in PICTURES.items():
            st.text_input(label, key=key, persist_state="session")
            places[name] = st.container()


# What is wrong with it


def line_of(where: str) -> int | None:
    """The place of the line that a problem is about; None for the whole order."""
    match = re.match(r"LineItems\[(\d+)\]", where)
    return int(match[1]) if match else None


def field_of(where: str) -> str:
    """The field that a problem is about, by its name at the provider."""
    return where.rpartition(".")[2]


def field_label(where: str) -> str:
    """The field that a problem is about, as the form calls it."""
    name = field_of(where)
    label = TEXT_FIELDS[name][1] if name in TEXT_FIELDS else OTHER_LABELS.get(name, name)
    return label.removesuffix(" (2 letters)")


def visible_problems(draft: Draft, checked: CheckedFile) -> list[tuple[int | None, str, str]]:
    """The problems that are told now, as line, where and message: what is missing only once somebody wants to go on.

    Who a greeting is from is missing only because of what else it has, and so is told at once.
    """
    return [
        (line_of(problem.where), problem.where, problem.message)
        for problem in checked.problems
        if draft.strict or not problem.message.startswith("is missing") or field_of(problem.where) == "FromName"
    ]


def show_problems(draft: Draft, checked: CheckedFile, places: Places) -> None:
    """Write each problem of the order, or of the line in the form, below its field."""
    for line, where, message in visible_problems(draft, checked):
        if line not in {None, draft.at}:
            continue
        name = "Email" if field_of(where) == "DigitalDeliveryAddress" else field_of(where)
        text = elements.escape(sentence(field_label(where), message))
        places.get(name, st).markdown(f":small[:red[:material/error: {text}]]")
