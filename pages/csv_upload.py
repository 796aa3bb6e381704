"""Orders of a CSV file: a preview row by row, problems in groups, what came before, then sending."""

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

import cached
import elements
import order_review
import order_scenarios
import order_summary
import session
import times
from charts.palette import LIGHT
from tracking.access import Person
from tracking.orders import wording
from tracking.orders.observations import utc_now
from tracking.reports import amounts
from tracking.reports.team.imports import find_import
from tracking.submissions import csv_rows, files, results
from tracking.submissions.catalog import Catalog, face_values
from tracking.submissions.files import CheckedFile
from tracking.submissions.results import RowStatus
from tracking.team.imports.handing_in import hand_in

PREVIEW_ROWS = 200
PREVIEW_HEIGHT = 320
ROWS_IN_FULL = 8
GROUPS_SHOWN = 20
SAMPLES = {
    "sample-links.csv": "Claim links",
    "sample-digital.csv": "E-mail and text message",
    "sample-physical.csv": "Cards by post",
    "sample-bulk.csv": "120 rows without PO numbers",
}
TEMPLATES: dict[str, dict[str, str]] = {
    "DigitalDelivery": {"Email": "someone@example.com"},
    "Links": {},
    "PhysicalShipment": {
        "ShippingMethodId": "STANDARD", "Name": "Ada Example", "AddressLine1": "1 Main Street", "City": "Boston",
        "State": "MA", "Zip": "02101", "Country": "US",
    },
}  # fmt: skip


def draw() -> None:
    """The drop zone first; then what the file holds, and the way to send it."""
    given = st.file_uploader("Drop a CSV file here, or choose one", type=["csv"], key="csv", max_upload_size=20)
    catalogue = cached.catalogue()
    downloads(catalogue)
    if given is None:
        st.session_state.pop("csv_checked", None)
        return
    checked = check(given, catalogue)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        problems(checked)
        preview(checked)
    with right, st.container(border=True, key="summary", gap="small"):
        summary(checked, catalogue)
        if not checked.problems:
            confirm(checked, catalogue)


def check(given: Any, catalogue: Catalog | None) -> CheckedFile:
    """The file's rows, judged once for each upload, and once more when there is a catalogue to judge them by."""
    key = given.file_id, catalogue is None
    if st.session_state.get("csv_checked", ("",))[0] != key:
        checked = files.read_csv(
            given.getvalue(),
            given.name,
            catalog=catalogue,
            chunk=session.settings().order_lines,
            now=utc_now(),
            database=session.database(),
        )
        st.session_state["csv_checked"] = key, checked
    judged: CheckedFile = st.session_state["csv_checked"][1]
    return judged


def downloads(catalogue: Catalog | None) -> None:
    """What a row is, and files to begin with; the samples name products of the sandbox."""
    most = session.settings().order_lines
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(
            "One row is one line. Rows with the same PONumber form one order; rows without one form orders of up to "
            f"{most:,} lines. Uploading the same file again never orders twice.",
            width="stretch",
        )
        with (
            st.popover("Sample files", key="samples", icon=":material/download:", width="content"),
            st.container(gap=None),
        ):
            download("Template with all columns", template(catalogue), "orders-template.csv")
            folder = Path(__file__).parents[1] / "data"
            for name, title in SAMPLES.items() if order_scenarios.is_offered() else ():
                if (folder / name).is_file():
                    download(title, (folder / name).read_bytes(), name)


def download(label: str, data: Any, name: str) -> None:
    """A button for a CSV file."""
    icon = ":material/download:"
    st.download_button(label, data, name, "text/csv", key=name, on_click="ignore", icon=icon, type="tertiary")


def template(catalogue: Catalog | None) -> bytes:
    """A row of each type with all columns, of what the catalogue offers."""
    rows = []
    for kind, more in TEMPLATES.items():
        products = [each for each in catalogue.products.values() if kind in each.delivery_types] if catalogue else []
        if products:
            value = products[0].denominations[0] / 100 if products[0].denominations else 10
            rows.append({"Type": kind, "ProductId": products[0].id, "Value": value, "Quantity": 1, **more})
    return results.spreadsheet_file(pd.DataFrame(rows, columns=list(csv_rows.CSV_COLUMNS)))


def problems(checked: CheckedFile) -> None:
    """What is wrong: alike problems once, with how many rows have them and which come first."""
    if not checked.groups:
        return
    st.error("Fix these before sending. Nothing was sent.", icon=":material/error:")
    rows = [
        {
            "Rows": f"{group.count:,}",
            "Problem": elements.escape(f"{group.text}{' (with other values too)' if group.alike else ''}"),
            "Where": elements.escape(group.places),
        }
        for group in checked.groups[:GROUPS_SHOWN]
    ]
    with st.container(key="problems"):
        st.table(pd.DataFrame(rows), hide_index=True)  # not a grid of cells: an advice is longer than a cell is wide
    if (more := len(checked.groups) - GROUPS_SHOWN) > 0:
        st.caption(f"And {wording.count(more, 'more kind')} of problems.")


def preview(checked: CheckedFile) -> None:
    """The first rows with their status, those to fix first."""
    frame = results.preview_rows(session.database(), checked, PREVIEW_ROWS)
    if frame.empty:
        return
    counts = Counter(frame["status"])
    empty = [name for name in ("problem", "recipient") if not any(frame[name])]
    frame = frame.drop(columns=empty).apply(elements.shortened)
    frame["status"] = [[str(status)] for status in frame["status"]]
    text = ", ".join(f"{number:,} {word}" for word, number in counts.items())
    po_number = st.column_config.TextColumn("PO number")
    st.dataframe(
        frame,
        key="preview",
        height="content" if len(frame) <= ROWS_IN_FULL else PREVIEW_HEIGHT,
        hide_index=True,
        column_config=elements.columns(frame) | {"status": status_column(), "po_number": po_number},
        placeholder="",
        alt=f"Preview of the file's rows: {text}",
    )
    if len(frame) < checked.rows:
        first = "; rows to fix come first" if checked.faults else ""
        st.caption(f"The first {len(frame):,} of {wording.count(checked.rows, 'row')}{first}.")


def status_column() -> Any:
    """What would become of a row, as a coloured pill; its text is white in both themes, for which these are dark."""
    colors = {RowStatus.READY: LIGHT.good, RowStatus.FIX: LIGHT.trouble, RowStatus.EXISTS: LIGHT.muted}
    colors[RowStatus.SAVED] = LIGHT.primary
    return st.column_config.MultiselectColumn(
        "Status", options=[str(status) for status in colors], color=list(colors.values()), pinned=True, width=84
    )


def summary(checked: CheckedFile, catalogue: Catalog | None) -> None:
    """What the file holds and comes to, and whether it came before."""
    st.header(elements.escape(checked.name), anchor=False)
    with st.container(gap="xxsmall"):
        if checked.rows:  # none of a file that could not be read
            order_summary.figure("Rows", f"{checked.rows:,}")
        if checked.faults:
            order_summary.figure("Rows to fix", f"{len(checked.faults):,}")
        if checked.problems:
            return
        order_summary.figure("Orders", f"{len(checked.requests):,}")
        order_summary.sums(catalogue or Catalog({}), list(checked.requests))
    order_review.caveats(checked)
    order_review.say_approval(checked)
    duplicates(checked)


def duplicates(checked: CheckedFile) -> None:
    """Say what of the file came before."""
    icon, similar = ":material/content_copy:", checked.similar_file
    if checked.first_submitted_at:
        at = times.text(checked.first_submitted_at)
        left = "Orders that exist are left as they are; only missing ones are made."
        st.warning(f"This file was uploaded before, at {at}. {left}", icon=icon)
        earlier = find_import(session.database(), checked.digest)
        if earlier is not None:
            query = {"import": str(earlier.id)}
            st.page_link("imports.py", label="Its import", icon=":material/upload_file:", query_params=query)
    elif similar:
        rows, name = wording.count(similar.rows, "row"), elements.escape(similar.name)
        st.warning(
            f"{rows} of {checked.rows:,} were in {name} too, uploaded at {times.text(similar.at)}. Without PO numbers "
            "they are ordered again.",
            title="Most rows were in an earlier file",
            icon=icon,
        )


def confirm(checked: CheckedFile, catalogue: Catalog | None) -> None:
    """Where it goes, who sends it, and the button that does."""
    order_review.say_environment()
    order_summary.say_delays()
    is_meant = not checked.similar_file or st.checkbox("Order these rows again", key=f"once_more_{checked.digest}")
    by = order_review.sender(len(checked.requests))
    worth = amounts.worth(face_values(checked.requests, catalogue))
    orders, cards = wording.count(len(checked.requests), "order"), wording.count(checked.units, "card")
    label = f"Send {orders}, {cards}, {worth}"
    if order_review.send_button(label, key="queue", ready=is_meant and by is not None) and by:
        query = {"import": str(queue(checked, by))}
        st.session_state["toast"] = "All rows are saved. They become orders and are sent even if you close this page."
        st.switch_page("imports.py", query_params=query)


def queue(checked: CheckedFile, by: Person) -> int:
    """Save all orders of the file; returns its import. After an interruption the same button goes on."""
    bar = st.progress(0.0, text="Saving")

    def show(done: int, total: int) -> None:
        bar.progress(done / total if total else 1.0, text=f"{done:,} of {total:,} orders saved")

    database = session.database()
    return hand_in(database, checked, source="csv", by=by, now=utc_now(), progress=show).batch_id
