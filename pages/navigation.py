"""The pages of the console by sections, and links to them."""

import contextlib
import copy
import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import streamlit as st

import session
from tracking.errors import TrackingError

# By the name of the file, what Streamlit has to know of each: see `st.Page`.
MAIN: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "overview.py": {
            "title": "Overview",
            "icon": ":material/dashboard:",
            "default": True,
            "help": "What is open, what is late and what needs a decision.",
        },
        "orders.py": {
            "title": "Orders",
            "icon": ":material/list_alt:",
            "url_path": "orders",
            "help": "Find any order by any id, filter, sort and export.",
        },
        "order.py": {
            "title": "Order",
            "icon": ":material/timeline:",
            "url_path": "timeline",
            "visibility": "hidden",
            "help": "One order: where it stands, what proves it, what to do next.",
        },
        "new_order.py": {
            "title": "New order",
            "icon": ":material/add_shopping_cart:",
            "url_path": "submit",
            "help": "Place one order by form, or many by a CSV file.",
        },
        "logs.py": {
            "title": "Logs",
            "icon": ":material/history:",
            "url_path": "activity",
            "help": "Webhooks received, API calls made, and everything that happened.",
        },
        "insights.py": {
            "title": "Insights",
            "icon": ":material/insights:",
            "url_path": "insights",
            "help": "How soon completions are detected, how ETAs fared, and what other polling plans would cost.",
        },
    }
)
TEAM: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "jobs.py": {
            "title": "Jobs",
            "icon": ":material/checklist:",
            "url_path": "jobs",
            "help": "Acts on many orders: how far each is, by whom, and what it touched.",
        },
        "imports.py": {
            "title": "Imports",
            "icon": ":material/upload_file:",
            "url_path": "imports",
            "help": "The files that were uploaded, and how far their orders are.",
        },
        "audit.py": {
            "title": "Audit log",
            "icon": ":material/policy:",
            "url_path": "audit",
            "help": "Who did what, exported what and searched for what.",
        },
        "handover.py": {
            "title": "Handover",
            "icon": ":material/sync_alt:",
            "url_path": "handover",
            "help": "What one shift hands on to the next.",
        },
        "alerts.py": {
            "title": "Alerts",
            "icon": ":material/notifications_active:",
            "url_path": "alerts",
            "help": "What is wrong now, who was notified of it, and what the rules are.",
        },
        "hooks.py": {
            "title": "Outgoing webhooks",
            "icon": ":material/webhook:",
            "url_path": "hooks",
            "help": "Which other systems are notified of events of orders, and what was delivered.",
        },
        "tokens.py": {
            "title": "API tokens",
            "icon": ":material/key:",
            "url_path": "tokens",
            "help": "Which programs may ask the API, until when, and how much they did.",
        },
        "drills.py": {
            "title": "Fire drill",
            "icon": ":material/local_fire_department:",
            "url_path": "drills",
            "help": "Have something go wrong at the sandbox, and time how the team reacts.",
        },
    }
)
OF_THE_SANDBOX = frozenset({"drills.py"})
OF_OPERATORS = frozenset({"tokens.py"})


@functools.cache
def page(file: str) -> Any:
    """The page of this file, declared once in a process: to declare one looks for its file."""
    return st.Page(file, **{**MAIN, **TEAM}[file])


def sections() -> dict[str, list[Any]]:
    """The pages for the run that asks, by section; copies, as Streamlit notes in them which one it runs."""
    without = OF_THE_SANDBOX
    with contextlib.suppress(TrackingError):  # settings that cannot be used are told of on the page
        without = frozenset() if session.settings().embedded_sandbox else OF_THE_SANDBOX
        without |= OF_OPERATORS if session.may_not_act() else frozenset()
    listed = {"": MAIN, "Team": TEAM}
    return {name: [copy.copy(page(file)) for file in files if file not in without] for name, files in listed.items()}


def link(
    file: str, label: str, *, icon: str = "", query: Mapping[str, Any] | None = None, help_text: str | None = None,
    width: Any = "content",
) -> None:  # fmt: skip
    """A link to the page of this file; `query` is that of its address. Without `help_text` it says what the page is.

    Streamlit would look up a path in the file system for each link, at twice the cost of the link itself.
    """
    st.page_link(page(file), label=label, icon=icon, query_params=query, help=help_text, width=width)
