"""What each log shows of its rows: the columns, their colours, and the cells that are worded for people."""

from collections.abc import Iterable
from typing import Any

import pandas as pd
import streamlit as st

import elements
import log_table
import times
from tracking.orders.model import Witness
from tracking.orders.wording import source_label
from tracking.reports.logs import calls
from tracking.reports.logs import contract as contract_log

WEBHOOK_OUTCOMES = {"accepted": "Accepted", "waiting": "Waiting", "refused": "Rejected"}
LATE_SECONDS = 60
SLOWEST = 2000  # milliseconds: where the bar of a call's latency is full
TIME_WIDTH = 140

DOCUMENTED, UNDOCUMENTED = "Documented", "Undocumented"
CHANGES = {"new": "New", "gone": "Gone"}

Groups = dict[str, tuple[str, str]]  # what is stored, with its label and colour


def webhook_groups() -> Groups:
    """Outcomes of webhooks."""
    palette = elements.palette()
    colors = (palette.good, palette.warning, palette.trouble)
    return {word: (WEBHOOK_OUTCOMES[word], color) for word, color in zip(WEBHOOK_OUTCOMES, colors, strict=True)}


def call_groups(outcomes: Iterable[str]) -> Groups:
    """These outcomes of API calls, by whether a call ended well, was answered by a no, or failed."""
    groups = {group: (label, color) for group, (label, color) in _call_words().items()}
    order = list(groups)
    by_group = sorted(set(outcomes), key=lambda outcome: order.index(calls.outcome_group(outcome)))
    return {outcome: groups[calls.outcome_group(outcome)] for outcome in by_group}


def _call_words() -> Groups:
    palette = elements.palette()
    return {
        "ok": ("OK", palette.primary),
        "declined": ("Declined", palette.warning),
        "failed": ("Failed", palette.trouble),
    }


def event_groups() -> Groups:
    """Sources of events."""
    palette = elements.palette()
    colors = (palette.ahead, palette.primary, palette.accent, palette.good, palette.warning)
    return {one.value: (source_label(one), color) for one, color in zip(Witness, colors, strict=True)}


def _cells(values: Iterable[Any]) -> pd.Series:
    """A column of any objects, lists among them."""
    return pd.Series(list(values), dtype=object)


def webhooks(frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The rows of webhooks and their columns."""
    groups = webhook_groups()
    stated = pd.to_datetime(frame["stated_at"], utc=True)
    rows = frame.assign(
        outcome_pill=_cells([groups[word][0] if word in groups else word] for word in frame["outcome"]),
        order=frame["order"].fillna(""),
        delay=(pd.to_datetime(frame["received_at"], utc=True) - stated).dt.total_seconds(),
        why=_cells(
            ": ".join(text for text in pair if isinstance(text, str))
            for pair in zip(frame["rule"], frame["reason"], strict=True)
        ),
    )
    delay = "From the sender's timestamp, in whole seconds, until it was received"
    columns = {
        "received_at": times.column("Received", width=TIME_WIDTH),
        "outcome_pill": elements.pill_column("Outcome", dict(groups.values()), width=105),
        "order": log_table.order_column("callbacks"),
        "delay": st.column_config.NumberColumn("Delay, s", format="%.1f", width=85, help=delay),
        "repeats": st.column_config.NumberColumn("Repeats", width=80),
        "why": st.column_config.TextColumn("Reason", width=330),
        "po_number": st.column_config.TextColumn("Names order", width=180, help="Of a rejected one: proves nothing"),
        "source": st.column_config.TextColumn("Source", width=110),
    }
    return rows, columns


def api_calls(frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The rows of API calls and their columns."""
    colors = {label: _call_words()[group][1] for label, group in calls.OUTCOME_LABELS.items()}
    rows = frame.assign(
        purpose=_cells(calls.purpose_of(*pair) for pair in zip(frame["method"], frame["path"], strict=True)),
        outcome_pill=_cells(
            [calls.outcome_label(*pair)] for pair in zip(frame["outcome"], frame["status"], strict=True)
        ),
        order=frame["po_number"].fillna(""),
        status=_cells(f"{int(status)}" if pd.notna(status) else "" for status in frame["status"]),
    )
    latency = st.column_config.ProgressColumn(
        "Latency",
        format="%d ms",
        min_value=0,
        max_value=SLOWEST,
        width=140,
        help=f"The bar is full at {SLOWEST / 1000:g} s",
    )
    columns = {
        "at": times.column("Time", width=TIME_WIDTH),
        "purpose": st.column_config.TextColumn("Purpose", width=160),
        "order": log_table.order_column("calls"),
        "outcome_pill": elements.pill_column("Outcome", colors, width=135),
        "status": st.column_config.TextColumn("Status", width=70),
        "milliseconds": latency,
        "path": st.column_config.TextColumn("Path", width="large"),
    }
    return rows, columns


def events(frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The rows of events and their columns."""
    late = (frame["learned_at"] - frame["at"]).dt.total_seconds() > LATE_SECONDS
    rows = frame.assign(
        source=_cells([source_label(witness)] for witness in frame["witness"]),
        order=frame["po_number"],
        flag=_cells(["recorded later"] if each else [] for each in late),
    )
    columns = {
        "learned_at": times.column("Time", width=TIME_WIDTH, help="When it was recorded"),
        "source": elements.pill_column("Source", dict(event_groups().values()), width=105),
        "order": log_table.order_column("log"),
        "text": st.column_config.TextColumn("Event", width=460),
        "actor": st.column_config.TextColumn("Actor", width=110),
        "flag": elements.pill_column("Flag", {"recorded later": elements.palette().warning}, width=120),
    }
    return rows, columns


def contract() -> dict[str, Any]:
    """The columns of departures from the contract."""
    return {
        "last": times.column("Last", width=160),
        "first": times.column("First", width=160),
        "times": st.column_config.NumberColumn("Times", width=80),
        "what": st.column_config.TextColumn("What", width="large"),
    }


def _place(kind: str, place: str) -> str:
    """A path in the JSON; what is of the answer as a whole says so."""
    whole = kind in {"field", "type"} and (not place or place.isdigit())
    return f"{place} whole answer".strip() if whole else place


def sightings(frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The rows of what the provider was seen to use, and their columns."""
    palette = elements.palette()
    rows = frame.assign(
        kind=frame["kind"].map(contract_log.KINDS),
        place=_cells(_place(*pair) for pair in zip(frame["kind"], frame["place"], strict=True)),
        documented=_cells([DOCUMENTED if each else UNDOCUMENTED] for each in frame["documented"]),
        change=_cells([CHANGES[each]] if each else [] for each in frame["change"]),
    )
    columns = {
        "endpoint": st.column_config.TextColumn("Endpoint", width=165),
        "kind": st.column_config.TextColumn("Kind", width=100),
        "place": st.column_config.TextColumn(
            "Where", width=290, help="The path in the JSON; [] is any entry of a list"
        ),
        "value": st.column_config.TextColumn("What", width=130),
        "documented": elements.pill_column(
            "Contract", {DOCUMENTED: palette.good, UNDOCUMENTED: palette.warning}, width=125
        ),
        "change": elements.pill_column("Change", {"New": palette.primary, "Gone": palette.trouble}, width=80),
        "times": st.column_config.NumberColumn("Answers", format="localized", width=85, help="In how many it was seen"),
        "last_at": times.column("Last seen", width=TIME_WIDTH),
        "first_at": times.column("First seen", width=TIME_WIDTH),
        "example": st.column_config.TextColumn(
            "Example", width=200, help="Its shape: letters as A and a, digits as 9. Words stand as they came."
        ),
    }
    return rows, columns


def imports() -> dict[str, Any]:
    """The columns of imported files."""
    return {
        "created_at": times.column("Imported", width=160),
        "name": st.column_config.ButtonColumn("File", width=300, type="tertiary", key="open_import", alignment="left"),
        "rows": st.column_config.NumberColumn("Rows", width=80),
        "orders": st.column_config.NumberColumn("Orders", width=80),
        "actor": st.column_config.TextColumn("Actor", width=150),
        "digest": st.column_config.TextColumn("Digest", width=120, help="Equal files have equal digests"),
    }
