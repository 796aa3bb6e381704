"""Wording of acts on many orders: labels of buttons, what was done, and to which orders."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orders_filters
from tracking.orders import wording
from tracking.reports.order_list.filters import VIEW_LABELS, Filters
from tracking.reports.team.audit_wording import HASH
from tracking.team.plans import Act, Parameters

# What is done, as a button says it; and what is so afterwards, of the orders it was done with.
VERBS = {
    Act.POLL: "Poll", Act.ACKNOWLEDGE: "Acknowledge", Act.SNOOZE: "Snooze", Act.ASSIGN: "Assign",
    Act.RESEND: "Resend", Act.REOPEN: "Reopen", Act.END_SNOOZE: "End snooze of", Act.IMPORT: "Import",
}  # fmt: skip
PAST = {
    Act.POLL: "queued for a poll", Act.ACKNOWLEDGE: "acknowledged", Act.SNOOZE: "snoozed", Act.ASSIGN: "assigned",
    Act.RESEND: "queued to be sent again", Act.REOPEN: "reopened", Act.END_SNOOZE: "no longer snoozed",
    Act.IMPORT: "created",
}  # fmt: skip


def naming(act: str, number: int) -> str:
    """The act and how many orders it is for: "Acknowledge 391 orders"."""
    return f"{VERBS[Act(act)]} {wording.count(number, 'order')}"


def details(document: Mapping[str, Any], act: str, now: datetime) -> str:
    """With what it is done: the reason, until when, for whom; empty where there is nothing to say."""
    if act == Act.IMPORT:
        return ""
    parameters = Parameters.from_document(document)
    parts = [f"“{wording.plain(parameters.reason)}”"] if parameters.reason else []
    if act == Act.SNOOZE:
        parts.append(f"until {wording.clock(parameters.until, now)}" if parameters.until else "until something changes")
    if act == Act.ASSIGN:
        parts.append(f"to {wording.plain(parameters.assignee)}" if parameters.assignee else "to nobody")
    return ", ".join(parts)


def which(filters: Filters) -> str:
    """Which orders a filter means, in words: the view and all that is set."""
    parts = [chip.label for chip in orders_filters.chips(filters)]
    if filters.view != "all":
        whose = f" ({filters.assigned})" if filters.view == "mine" and filters.assigned else ""
        parts.insert(0, VIEW_LABELS[filters.view] + whose)
    return ", ".join(parts) or "All orders"


def chosen_by(stored: Mapping[str, Any]) -> str:
    """The same of what a job has stored of its filter, which names nothing that people typed."""
    if "file" in stored:
        return f"the file {wording.plain(stored['file'])}"
    if "po" in stored:
        return f"{stored['po']} in the list"
    words = {name: value if isinstance(value, list) else [str(value)] for name, value in stored.items()}
    typed = [name for name, each in words.items() if any(word.startswith(HASH) for word in each)]
    query = {name: [word for word in each if not word.startswith(HASH)] for name, each in words.items()}
    filters, _ = Filters.from_query({name: each for name, each in query.items() if each})
    parts = [which(filters)] if filters != Filters() or not typed else []
    return ", ".join([*parts, *(_TYPED.get(name, f"another {name.replace('_', ' ')}") for name in typed)])


_TYPED = {
    "q": "a search by text", "prefix": "a beginning of the PO number", "assigned": "of one name",
    "product": "one product",
}  # fmt: skip
