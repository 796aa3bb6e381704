"""Place orders: one by form, many by a CSV file. Nothing is sent before it was reviewed."""

import functools
import json
from typing import Any

import pandas as pd
import streamlit as st

import cached
import elements
import order_form
import session
from tracking.access import Person
from tracking.app import embedded_sandbox
from tracking.orders import wording
from tracking.orders.model import OrderType
from tracking.orders.observations import utc_now
from tracking.reports import amounts, health
from tracking.submissions import catalog, files, results
from tracking.submissions import submit as submissions

TYPE_NAMES = {
    "DigitalDelivery": "By e-mail or text message",
    "Links": "Claim links",
    "PhysicalShipment": "Cards by post",
    "Codes": "Codes",
}
POSTAL = {
    "Name": 150, "AddressLine1": 100, "AddressLine2": 100, "AddressLine3": 100, "City": 100, "State": 2, "Zip": 50,
    "Country": 2,
}  # fmt: skip

# One order


def one_order() -> None:
    """The form: lines first, then the review, then the sending."""
    catalogue = cached.catalogue()
    if catalogue is None or not catalogue.products:
        st.info("The provider's catalogue has not been read yet. Try again in a moment.", icon=":material/hourglass:")
        st.button("Try again", key="retry_catalogue")
        return
    order = order_form.draft()
    order_form.say_restored(order)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.text("PONumber of this order")
        st.code(order["po_number"], language=None, width="content")
    offered = {kind for product in catalogue.products.values() for kind in product.delivery_types}
    kinds = [str(kind) for kind in OrderType if kind != OrderType.CODES or kind in offered]
    if st.session_state.get("order_type") not in kinds:  # nothing yet, or of a draft from before the catalogue changed
        st.session_state["order_type"] = kinds[0]
    kind = st.segmented_control(
        "Type",
        kinds,
        key="order_type",
        required=True,
        format_func=lambda word: TYPE_NAMES[word],
        disabled=bool(order["lines"]),
        persist_state="session",
        help="All lines of an order are of one type.",
    )
    line_form(catalogue, kind or kinds[0], order)
    if order["lines"]:
        order_form.lines_table(catalogue, order, "draft_lines")
        order_form.line_actions(catalogue, order)
        rest_of_order()
        review(catalogue, order)
    order_form.keep(order)


def line_form(catalogue: catalog.Catalog, kind: str, order: dict[str, Any]) -> None:
    """One more line: product, amount, quantity, and where it goes."""
    products = [
        product
        for product in catalogue.products.values()
        if not product.delivery_types or kind in product.delivery_types
    ]
    if not products:
        st.warning("The catalogue holds no product of this type.")
        return
    order_form.prepare_line()
    with st.container(border=True, key="line"):
        first, second, third = st.columns([2, 1, 1])
        names = {product.id: f"{product.name} ({product.id})" for product in products}
        with first:
            picked = st.selectbox("Product", list(names), key="product_id", format_func=lambda known: names[known])
        product = catalogue.products[picked]
        with second:
            value = denomination(product)
        with third:
            quantity = int(st.number_input("Quantity", 1, 10_000, key="quantity"))
        line: dict[str, Any] = {"ProductId": picked, "Value": value, "Quantity": quantity}
        line |= delivery_fields(catalogue, kind)
        with st.expander("Reference and personalization", key="more_of_line"):
            line |= personalization(kind)
        if st.button("Add line", key="add_line", icon=":material/add:"):
            order_form.add_line(catalogue, kind, order, line)


def denomination(product: catalog.Product) -> float:
    """An amount that the product comes in."""
    denominations = product.denominations
    label = f"Value, {elements.escape(product.currency)}" if product.currency else "Value, currency unknown"
    amount, digits = functools.partial(wording.amount, currency=product.currency), wording.decimals(product.currency)
    if product.denomination_type == "Fixed" and denominations:
        picked = st.selectbox(label, denominations, key=f"value_{product.id}", format_func=amount)
        return picked / 100
    low, high = (denominations[0] / 100, denominations[-1] / 100) if denominations else (0.01, 10_000.0)
    whole = digits == 0 or product.denomination_type == "VariableNoCents"
    step, form = (1.0, "%.0f") if whole else (0.01, "%.2f")
    return round(float(st.number_input(label, low, high, step=step, format=form, key=f"value_{product.id}")), 2)


def delivery_fields(catalogue: catalog.Catalog, kind: str) -> dict[str, Any]:
    """Where the line goes."""
    if kind == OrderType.DIGITAL:
        left, right = st.columns(2)
        email = left.text_input("E-mail", key="email", max_chars=150, help="An e-mail address or a telephone number.")
        sms = right.text_input("Telephone for a text message", key="sms", max_chars=20)
        return {"DigitalDeliveryAddress": {"Email": email, "Sms": sms}}
    if kind != OrderType.PHYSICAL:
        return {}
    address: dict[str, Any] = {}
    methods = {str(method["id"]): describe(method, catalogue.only_currency) for method in catalogue.shipping_methods}
    carriers = {"": "as usual"} | {
        str(carrier["id"]): str(carrier.get("name") or carrier["id"]) for carrier in catalogue.carriers
    }
    st.session_state.setdefault("address_Country", "US")
    if not methods:
        st.session_state.setdefault("shipping_method", "STANDARD")
    with st.grid("auto", min_column_width=220):
        if methods:
            address["ShippingMethodId"] = st.selectbox(
                "Shipping method", list(methods), key="shipping_method", format_func=lambda known: methods[known]
            )
        else:
            address["ShippingMethodId"] = st.text_input("Shipping method id", key="shipping_method")
        address["CarrierId"] = st.selectbox(
            "Carrier", list(carriers), key="carrier", format_func=lambda known: carriers[known]
        )
        for name, length in POSTAL.items():
            address[name] = st.text_input(name, key=f"address_{name}", max_chars=length)
    return {"PhysicalDeliveryAddress": address}


def describe(method: Any, currency: str) -> str:
    """A shipping method with its cost."""
    cost = method.get("cost_minor")
    text = str(method.get("description") or method["id"])
    return f"{text}, {wording.money(cost, currency)}" if cost is not None else text


def personalization(kind: str) -> dict[str, Any]:
    """The line's reference, and what its recipient reads."""
    with st.grid("auto", min_column_width=220):
        reference = st.text_input("Your reference (ExternalId)", key="external_id", max_chars=100)
        to = st.text_input("To", key="to", max_chars=150)
        sender = st.text_input("From", key="from_name", max_chars=150)
        address = st.text_input("From, e-mail", key="from_email", max_chars=150)
        when = None
        if kind == OrderType.DIGITAL:
            when = st.datetime_input("Deliver at (UTC), empty: at once", value=None, key="delivery_date")
    message = st.text_area("Message", key="message", max_chars=400)
    text = {"To": to, "FromName": sender, "FromEmail": address, "Message": message}
    if when is not None:
        text["DeliveryDate"] = when.strftime(order_form.DELIVERY_FORM)
    return {"ExternalId": reference, "Personalization": text}


def rest_of_order() -> None:
    """The note, and in the sandbox how it shall behave."""
    st.text_input("Note", key="order_note", max_chars=220, persist_state="session")
    if session.settings().embedded_sandbox:
        st.selectbox(
            "Sandbox scenario",
            ("", *embedded_sandbox.note_words()),
            key="scenario",
            format_func=lambda word: word or "as usual",
            persist_state="session",
            help="How the simulated provider treats this order. The word goes into the note.",
        )
    with st.expander("Pictures for the whole order", key="pictures"):
        st.text_input("Address of a photo", key="photo_url", max_chars=150, persist_state="session")
        st.text_input("Address of a greeting", key="greeting_url", max_chars=150, persist_state="session")


def review(catalogue: catalog.Catalog, order: dict[str, Any]) -> None:
    """The last look before the order leaves."""
    if st.button("Review", key="review", type="primary", icon=":material/fact_check:"):
        order["reviewing"] = True
    if not order["reviewing"]:
        return
    body = order_form.request_body(order)
    checked = files.read_json(json.dumps(body).encode(), "form", catalog=catalogue)
    with st.container(border=True, key="reviewed"):
        st.markdown("**Review**")
        if checked.problems:
            problems(checked)
            return
        caveats(checked)
        order_form.totals(catalogue, checked)
        order_form.lines_table(catalogue, order, "reviewed_lines")
        with st.expander("The request as JSON and as curl", key="request"):
            text = json.dumps(body, indent=2, ensure_ascii=False)
            st.code(text, language="json")
            st.code(order_form.curl(text), language="bash")
        by, why = session.actor(), session.may_not_act()
        if st.button(
            "Send order", key="send", type="primary", icon=":material/send:", disabled=why is not None, help=why
        ):
            send(checked, order, by)


def send(checked: files.CheckedFile, order: dict[str, Any], by: Person) -> None:
    """Commits the order; the sender does the rest."""
    [receipt] = submissions.submit(session.database(), checked.requests, source="form", by=by, now=utc_now())
    if receipt.outcome == "rejected":
        st.error(elements.escape(receipt.message), title="Not sent")
        return
    st.session_state["sent"] = order["po_number"]
    order_form.discard()
    st.rerun()


def caveats(checked: files.CheckedFile) -> None:
    """What could not be checked."""
    for text in checked.unchecked:
        st.warning(elements.escape(f"{text[0].upper()}{text[1:]}."), icon=":material/rule:")


def problems(checked: files.CheckedFile) -> None:
    """What is wrong, row by row."""
    number = len(checked.problems)
    they_are = "it is" if number == 1 else "they are"
    st.error(f"{wording.count(number, 'problem')}. Nothing can be sent before {they_are} mended.", title="Not ready")
    rows = [
        {"Where": elements.escape(problem.where or "the file"), "What": elements.escape(problem.message)}
        for problem in checked.problems
    ]
    st.table(pd.DataFrame(rows), hide_index=True)  # not a grid of cells: an advice is longer than a cell is wide


# A file


def file() -> None:
    """A CSV file: checked row by row before anything is sent."""
    st.caption(
        "One row is one line item. Rows with the same PONumber form one order; rows without one are put together into "
        f"orders of at most {session.settings().order_lines:,} lines. The same file twice never orders twice."
    )
    st.download_button(
        "Download a template",
        order_form.template,
        "orders-template.csv",
        "text/csv",
        key="template",
        on_click="ignore",
        icon=":material/download:",
    )
    given = st.file_uploader("CSV file", type=["csv"], key="csv", max_upload_size=20)
    if given is None:
        return
    checked = files.read_csv(
        given.getvalue(),
        given.name,
        catalog=cached.catalogue(),
        chunk=session.settings().order_lines,
        now=utc_now(),
        database=session.database(),
    )
    caveats(checked)
    summary(checked)
    if checked.problems:
        problems(checked)
        return
    by, why = session.actor(), session.may_not_act()
    if checked.similar_file and not st.checkbox("Order these rows once more", key=f"once_more_{checked.digest}"):
        why = why or "Rows of this file were ordered before; say that they are meant once more."
    label = f"Queue {wording.count(len(checked.requests), 'order')}"
    if st.button(label, key="queue", type="primary", icon=":material/send:", disabled=why is not None, help=why):
        queue(checked, by)
    outcome(checked)


def summary(checked: files.CheckedFile) -> None:
    """What the file holds."""
    rows, orders = wording.count(checked.rows, "row"), wording.count(len(checked.requests), "order")
    value = elements.escape(amounts.worth(catalog.face_values(checked.requests, cached.catalogue())))
    st.markdown(f"**{rows}, {orders}, {wording.count(checked.units, 'card')} worth {value}**")
    if checked.first_submitted_at:
        at = wording.clock(checked.first_submitted_at)
        st.warning(
            f"Handed in at {at} UTC. Orders that exist are left as they are; only missing ones are placed.",
            title="The same file came before",
            icon=":material/content_copy:",
        )
    elif checked.similar_file:
        at, same = wording.clock(checked.similar_file.at), wording.count(checked.similar_file.rows, "row")
        st.warning(
            f"{same} of {checked.rows:,} were in {elements.escape(checked.similar_file.name)} too, "
            f"handed in at {at} UTC. "
            "Without PONumbers they are ordered once more.",
            title="Much of this file came before",
            icon=":material/content_copy:",
        )


def queue(checked: files.CheckedFile, by: Person) -> None:
    """Commits the orders in groups; after an interruption the same button goes on."""
    bar = st.progress(0.0, text="Queueing")

    def show(done: int, total: int) -> None:
        bar.progress(done / total if total else 1.0, text=f"{done:,} of {total:,} orders queued")

    receipts = submissions.submit(session.database(), checked, source="csv", by=by, now=utc_now(), progress=show)
    counts = pd.Series([receipt.outcome for receipt in receipts]).value_counts()
    text = ", ".join(f"{number:,} {word}" for word, number in counts.items())
    st.session_state["queued"] = {"digest": checked.digest, "said": text}


def outcome(checked: files.CheckedFile) -> None:
    """What became of each row, to look at and to take along."""
    queued = st.session_state.get("queued")
    if not queued or queued["digest"] != checked.digest:
        return
    st.success(f"{queued['said']}.", title="The file is in", icon=":material/check:")
    warn_without_sender()
    database = session.database()
    st.download_button(
        "Download the outcome, row by row",
        session.only_while_admitted(lambda: outcome_file(database, checked)),
        "outcome.csv",
        "text/csv",
        key="outcome",
        on_click="ignore",
        icon=":material/download:",
    )
    for request in checked.requests[:10]:
        elements.order_link(request.po_number)
    if (more := len(checked.requests) - 10) > 0:
        st.caption(f"And {wording.count(more, 'more order')}, in the list of orders.")


def outcome_file(database: Any, checked: files.CheckedFile) -> bytes:
    """The file of outcomes."""
    return results.spreadsheet_file(results.outcome_rows(database, checked))


def warn_without_sender() -> None:
    """Say that nobody sends what is queued, where that is so: this page only asks for it."""
    if absent := health.absent_loop(session.database(), "sender", utc_now()):
        st.warning(absent[0].upper() + absent[1:], title="Nothing is sent", icon=":material/pause:")


if why_not := session.may_not_act():
    st.info(f"{why_not} Orders can be put together and checked, not sent.", icon=":material/lock:")
with st.container():
    if sent := st.session_state.get("sent"):
        st.success("It is committed, whatever happens to this window.", title="The order is queued")
        with elements.error_box():
            warn_without_sender()
        elements.order_link(sent, label="Watch its timeline", icon=":material/timeline:")
how = st.segmented_control(
    "How", ["One order", "CSV file"], key="how", default="One order", required=True, persist_state="session"
)
with elements.error_box():
    if how == "CSV file":
        file()
    else:
        one_order()
