"""The order that is being put together: its PONumber, its shape, the same request for a terminal, an example file."""

import random
from typing import Any

import pandas as pd
import streamlit as st

import session
from tracking.orders.observations import utc_now
from tracking.submissions import csv_rows, results
from tracking.submissions import submit as submissions
from tracking.submissions.requests import order_document

TEMPLATES = {
    "DigitalDelivery": {"Email": "someone@example.com"},
    "Links": {},
    "PhysicalShipment": {
        "ShippingMethodId": "STANDARD", "Name": "A. Person", "AddressLine1": "1 Main Street", "City": "Boston",
        "State": "MA", "Zip": "02101", "Country": "US",
    },
}  # fmt: skip


def draft() -> dict[str, Any]:
    """What has been entered so far."""
    if "draft" not in st.session_state:
        number = submissions.new_po_number(utc_now(), random.SystemRandom())
        st.session_state["draft"] = {"po_number": number, "lines": [], "reviewing": False}
    stored: dict[str, Any] = st.session_state["draft"]
    return stored


def remove_last_line() -> None:
    """Takes the last line away."""
    order = draft()
    order["lines"] = order["lines"][:-1]
    order["reviewing"] = False


def discard() -> None:
    """Ends the draft; the next one gets a PONumber of its own."""
    del st.session_state["draft"]


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
