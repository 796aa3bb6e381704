"""Entries of the audit log in words. Pure; an unknown detail is shown as it is stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from tracking.orders import wording
from tracking.orders.vocabulary import reason_label, state_label
from tracking.reports.explanations import TYPES
from tracking.reports.order_list.filters import VIEW_LABELS
from tracking.storage.team.audit_log import AuditKind

LABELS: Mapping[str, str] = {kind.value: kind.value[:1].upper() + kind.value[1:] for kind in AuditKind}
HASH, DIGITS = "hash:", 8
_Detail = Mapping[str, Any]
# The parts of a filter by the names of their parameters, of orders and of the audit log itself.
_FILTERS = {
    "q": "with {} in it", "view": "the view {}", "state": "state {}", "not_state": "state not {}", "type": "type {}",
    "not_type": "type not {}", "reason": "reason {}", "not_reason": "reason not {}", "source": "from {}",
    "not_source": "not from {}", "product": "product {}", "from": "placed from {}", "to": "placed before {}",
    "done_from": "completed from {}", "done_to": "completed before {}", "ended_from": "ended from {}",
    "min": "value from {}", "max": "value up to {}", "older": "open for {} or longer", "assigned": "assigned to {}",
    "job": "of job {}", "po": "{}", "import": "of import {}", "prefix": "PO number begins with {}",
    "each": "each of those that are late together", "parts": "also where the text is only a part",
    "watched": "not those over when first seen", "sort": "sorted by {}", "asc": "ascending",
    "person": "by {}", "kind": "{}", "order": "of order {}", "since": "since {}", "until": "before {}",
    "file": "the file {}",
}  # fmt: skip


def describe(kind: str, detail: _Detail) -> str:
    """What was done, without who and when."""
    words = _WORDS.get(kind)
    text = words(detail) if words else _with_facts(LABELS.get(kind, kind), detail)
    return wording.plain(text)


def _with_facts(text: str, detail: _Detail, *left_out: str) -> str:
    facts = [f"{name.replace('_', ' ')} {_value(value)}" for name, value in detail.items() if name not in left_out]
    return f"{text}: {', '.join(facts)}" if facts else text


def _value(value: Any) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case list():
            return " or ".join(map(_value, value))
        case dict():
            return "; ".join(f"{name} {_value(part)}" for name, part in value.items())
        case str() if value.startswith(HASH):
            return f"{value[: len(HASH) + DIGITS]}…"
        case str():
            return _time(value) or value
        case _:
            return str(value)


def _time(text: str) -> str | None:
    """A stored time as people read it; None for what is none."""
    try:
        return wording.clock(datetime.fromisoformat(text)) if "T" in text else None
    except ValueError:
        return None


def _chosen(stored: Any) -> str:
    """Which orders or entries a stored filter means, in words; empty for all."""
    if not isinstance(stored, Mapping) or not stored:
        return ""
    return ", ".join(_part(name, value) for name, value in stored.items())


def _part(name: str, value: Any) -> str:
    """One part of a filter; a text is shown as its hash, or as "text" where not even that was stored."""
    words = [_word(name, each) for each in (value if isinstance(value, list) else [value])]
    label = _FILTERS.get(name, f"{name.replace('_', ' ')} {{}}")
    return label.format(" or ".join(words))


def _word(name: str, value: Any) -> str:
    text = str(value)
    if text == "text":
        return "a text"
    if text.startswith(HASH):
        return _value(text)
    match name.removeprefix("not_"):
        case "view":
            return f"“{VIEW_LABELS.get(text, text)}”"
        case "reason":
            return reason_label(text)
        case "state":
            return state_label(text)
        case "type":
            return TYPES.get(text, text)
        case "source":
            return wording.source_label(text)
        case "min" | "max" if isinstance(value, int):
            return wording.amount(value)
        case "older" if text[:-1].isdecimal():
            return wording.duration(timedelta(seconds=int(text[:-1])))
        case "kind":
            return LABELS.get(text, text)
        case _:
            return _value(value)


def _searched(detail: _Detail) -> str:
    hits = wording.count(int(detail.get("hits", 0)), "hit")
    return f"Searched, {'at least ' if detail.get('at_least') else ''}{hits}: {_value(detail.get('text'))}"


def _exported(detail: _Detail) -> str:
    rows, form, selected = detail.get("rows"), detail.get("form"), detail.get("selected")
    parts = [f"Exported {detail.get('what', '')}".strip()]
    parts += [f"as {str(form).upper()}"] if form else []
    parts += [wording.count(int(rows), "row")] if rows is not None else []
    parts += [f"{int(selected):,} selected by hand"] if selected else []
    chosen = _chosen(detail.get("filter"))
    text = ", ".join(parts) + (f": {chosen}" if chosen else "")
    return _with_facts(text, detail, "what", "form", "rows", "order_ids", "filter", "selected")


def _evidence(detail: _Detail) -> str:
    how = "with recipients masked" if detail.get("masked") else "with recipients"
    digest = str(detail.get("sha256", ""))[:DIGITS]
    return f"Exported evidence {how}, {wording.count(int(detail.get('events', 0)), 'event')}, SHA-256 {digest}…"


def _settings(detail: _Detail) -> str:
    changed = [f"{name} {_old(old)} → {_old(new)}" for name, (old, new) in (detail.get("changed") or {}).items()]
    secrets = [f"{name} changed" for name in detail.get("secrets") or ()]
    unclear = detail.get("not_comparable") or ()
    more = [f"not comparable: {', '.join(unclear)}"] if unclear else []
    what = "; ".join([*changed, *secrets, *more])
    if "roles" not in detail:
        return f"Settings since the last start: {what}"
    roles, others = (str(detail[name]).replace(",", ", ") for name in ("roles", "compared_roles"))
    return f"First start of a process with {roles}, set otherwise than the one with {others}: {what}"


def _numbers(detail: _Detail, *names: str) -> str:
    return ", ".join(f"{detail[name]:,} {name}" for name in names if detail.get(name))


def _old(value: Any) -> str:
    return "unset" if value is None or value == "" else str(value)


def _snoozed(detail: _Detail) -> str:
    until = detail.get("until")
    return f"Snoozed until {wording.clock(datetime.fromisoformat(until))}" if until else "Snoozed until it changes"


def _submitted(detail: _Detail) -> str:
    purpose = f" for {detail['purpose']}" if detail.get("purpose") else ""
    source = str(detail.get("source", ""))
    orders = wording.count(int(detail.get("orders", 0)), "order")
    return f"Submitted {orders} by {wording.SOURCES.get(source, source)}{purpose}"


def _imported(detail: _Detail) -> str:
    return f"Imported {wording.count(int(detail.get('orders', 0)), 'order')} as import {detail.get('import', '')}"


def _discarded(detail: _Detail) -> str:
    orders = wording.count(int(detail.get("orders", 0)), "order")
    return f"Discarded {orders} of import {detail.get('import', '')} that waited"


def _erased(detail: _Detail) -> str:
    if "orders" in detail:
        return f"Erased a recipient, {wording.count(int(detail['orders']), 'order')}"
    return f"Erased a recipient from {detail.get('from', 'the store')}"


def _job(verb: str) -> Callable[[_Detail], str]:
    def words(detail: _Detail) -> str:
        text = f"{verb} “{detail.get('act', '')}” of {wording.count(int(detail.get('orders', 0)), 'order')}"
        if detail.get("act") == "assign" and "done" not in detail:
            text += f" to {detail.get('assignee') or 'nobody'}"
        until = detail.get("until")
        text += f" until {_value(until)}" if until else ""
        if "done" in detail:
            text += f", with {detail['done']:,} done and {detail.get('skipped', 0):,} skipped by then"
        chosen = _chosen(detail.get("filter"))
        text += f": {chosen}" if chosen else ""
        return _with_facts(text, detail, "act", "orders", "assignee", "until", "done", "skipped", "filter")

    return words


def _view(verb: str) -> Callable[[_Detail], str]:
    def words(detail: _Detail) -> str:
        whose = "a view for all" if detail.get("shared") else "a view of their own"
        return f"{verb} {whose} (number {detail.get('view', '')})"

    return words


def _revealed(detail: _Detail) -> str:
    version = f", as it was in version {detail['version']}" if detail.get("version") else ""
    return f"Revealed the claim data of line {detail.get('line', '')}, unit {detail.get('unit', '')}{version}"


def _drill_started(detail: _Detail) -> str:
    return (
        f"Started the fire drill “{detail['scenario']}”"
        if detail.get("scenario")
        else ("Started a fire drill that is not named")
    )


def _drill_ended(detail: _Detail) -> str:
    return f"Ended the fire drill “{detail.get('scenario', '')}”"


def _api_read(detail: _Detail) -> str:
    hour = detail.get("hour")
    when = f" in the hour from {wording.clock(datetime.fromisoformat(hour))}" if hour else ""
    times = dict(detail.get("times") or {})
    answers = wording.count(times.pop("answer", 0), "answer")
    what = ", ".join(wording.count(number, name) for name, number in times.items())
    return f"Read {answers} by the API{when}{f': {what}' if what else ''}"


def _token(verb: str) -> Callable[[_Detail], str]:
    def words(detail: _Detail) -> str:
        role = f", {detail['access']}" if detail.get("access") else ""
        ends = detail.get("expires", "")
        expires = f", expires {_time(ends) or ends}" if ends else ""
        return f"{verb} the API's token {detail.get('token', '')}{role}{expires}"

    return words


def _not_admitted(detail: _Detail) -> str:
    who, why = detail.get("address"), detail.get("why")
    return f"Turned away a sign-in{f' of {who}' if who else ''}{f': {why}' if why else ''}"


def _signed_in(detail: _Detail) -> str:
    at = detail.get("issued_at")
    when = f" at {wording.clock(datetime.fromisoformat(at))}" if at else ""
    return f"Signed in{when} as {detail.get('access', '')}"


def _webhook(verb: str) -> Callable[[_Detail], str]:
    def words(detail: _Detail) -> str:
        text = f"{verb} the outgoing webhook “{detail.get('webhook', '')}”"
        span = [wording.clock(datetime.fromisoformat(detail[name])) for name in ("since", "until") if detail.get(name)]
        text += f" from {' to '.join(span)}" if span else ""
        return text + (f": {detail['why']}" if detail.get("why") else "")

    return words


def _skipped(detail: _Detail) -> str:
    event, webhook = detail.get("event", "a message"), detail.get("webhook", "")
    return f"Had {event} to the outgoing webhook “{webhook}” skipped"


_WORDS: Mapping[str, Callable[[_Detail], str]] = {
    AuditKind.API_ACCESS_ENDED: _token("Revoked"),
    AuditKind.API_ACCESS_GIVEN: _token("Made"),
    AuditKind.API_READ: _api_read,
    AuditKind.ASSIGNED: lambda detail: f"Assigned to {detail.get('assignee') or 'nobody'}",
    AuditKind.CONTRACT_READ: lambda detail: f"Marked contract changes as read: {_numbers(detail, 'new', 'gone')}",
    AuditKind.DRILL_CUSTOMERS_INFORMED: lambda _: "Recorded in the fire drill that the customers were told",
    AuditKind.DRILL_ENDED: _drill_ended,
    AuditKind.DRILL_STARTED: _drill_started,
    AuditKind.ERASED: _erased,
    AuditKind.EVIDENCE_EXPORTED: _evidence,
    AuditKind.EXPORTED: _exported,
    **{
        kind: _webhook(words)
        for kind, words in (
            (AuditKind.HOOK_ADDED, "Added"),
            (AuditKind.HOOK_PAUSED, "Paused"),
            (AuditKind.HOOK_REMOVED, "Removed"),
            (AuditKind.HOOK_REPLAYED, "Replayed"),
            (AuditKind.HOOK_RESUMED, "Resumed"),
            (AuditKind.HOOK_SECRET_CHANGED, "Changed the secret of"),
            (AuditKind.HOOK_SWITCHED_OFF, "Switched off"),
            (AuditKind.HOOK_TESTED, "Sent a test to"),
        )
    },
    AuditKind.HOOK_SENT_AGAIN: lambda detail: f"Had {int(detail.get('deliveries', 0)):,} outgoing webhooks sent again",
    AuditKind.HOOK_SKIPPED: _skipped,
    AuditKind.IMPORTED: _imported,
    AuditKind.IMPORT_DISCARDED: _discarded,
    AuditKind.JOB_RESUMED: _job("Resumed"),
    AuditKind.JOB_STARTED: _job("Started"),
    AuditKind.JOB_STOPPED: _job("Stopped"),
    AuditKind.NOTED: lambda _: "Added a note",
    AuditKind.PLACED_ANEW: lambda detail: f"Placed it anew as {detail.get('po_number', 'another order')}",
    AuditKind.POLL_REQUESTED: lambda _: "Asked for a poll",
    AuditKind.REVEALED: _revealed,
    AuditKind.SEARCHED: _searched,
    AuditKind.SETTINGS_CHANGED: _settings,
    AuditKind.SIGNED_IN: _signed_in,
    AuditKind.SIGN_IN_REFUSED: _not_admitted,
    AuditKind.SNOOZED: _snoozed,
    AuditKind.SUBMITTED: _submitted,
    AuditKind.VIEW_DELETED: _view("Deleted"),
    AuditKind.VIEW_SAVED: _view("Saved"),
}
