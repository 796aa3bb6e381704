"""What an entry of the audit log says, in words. Asks no store; a detail that nobody knows is shown as it is stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from tracking.orders import wording
from tracking.storage.team.audit_log import AuditKind

LABELS: Mapping[str, str] = {kind.value: kind.value[:1].upper() + kind.value[1:] for kind in AuditKind}
HASH, DIGITS = "hash:", 8
_Detail = Mapping[str, Any]


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
        case list():
            return " or ".join(map(_value, value))
        case dict():
            return "; ".join(f"{name} {_value(part)}" for name, part in value.items())
        case str() if value.startswith(HASH):
            return f"{value[: len(HASH) + DIGITS]}…"
        case _:
            return str(value)


def _searched(detail: _Detail) -> str:
    hits = wording.count(int(detail.get("hits", 0)), "hit")
    return f"Searched, {'at least ' if detail.get('at_least') else ''}{hits}: {_value(detail.get('text'))}"


def _exported(detail: _Detail) -> str:
    rows, form = detail.get("rows"), detail.get("form")
    parts = [f"Exported {detail.get('what', '')}".strip()]
    parts += [f"as {str(form).upper()}"] if form else []
    parts += [wording.count(int(rows), "row")] if rows is not None else []
    text = ", ".join(parts)
    return _with_facts(text, detail, "what", "form", "rows", "order_ids")


def _settings(detail: _Detail) -> str:
    changed = [f"{name} {_old(old)} → {_old(new)}" for name, (old, new) in (detail.get("changed") or {}).items()]
    secrets = [f"{name} changed" for name in detail.get("secrets") or ()]
    unclear = detail.get("not_comparable") or ()
    more = [f"not comparable: {', '.join(unclear)}"] if unclear else []
    return f"Settings since the last start: {'; '.join([*changed, *secrets, *more])}"


def _numbers(detail: _Detail, *names: str) -> str:
    return ", ".join(f"{detail[name]:,} {name}" for name in names if detail.get(name))


def _old(value: Any) -> str:
    return "unset" if value is None or value == "" else str(value)


def _snoozed(detail: _Detail) -> str:
    until = detail.get("until")
    return f"Snoozed until {wording.clock(datetime.fromisoformat(until))}" if until else "Snoozed until it changes"


def _submitted(detail: _Detail) -> str:
    return f"Submitted {wording.count(int(detail.get('orders', 0)), 'order')} by {detail.get('source', '')}"


def _job(verb: str) -> Callable[[_Detail], str]:
    def words(detail: _Detail) -> str:
        orders = wording.count(int(detail.get("orders", 0)), "order")
        return _with_facts(f"{verb} “{detail.get('act', '')}” of {orders}", detail, "act", "orders")

    return words


def _signed_in(detail: _Detail) -> str:
    at = detail.get("issued_at")
    when = f" at {wording.clock(datetime.fromisoformat(at))}" if at else ""
    return f"Signed in{when} as {detail.get('access', '')}"


_WORDS: Mapping[str, Callable[[_Detail], str]] = {
    AuditKind.ASSIGNED: lambda detail: f"Assigned to {detail.get('assignee') or 'nobody'}",
    AuditKind.CONTRACT_READ: lambda detail: f"Marked contract changes as read: {_numbers(detail, 'new', 'gone')}",
    AuditKind.ERASED: lambda detail: f"Erased a recipient, {wording.count(int(detail.get('orders', 0)), 'order')}",
    AuditKind.EXPORTED: _exported,
    AuditKind.JOB_RESUMED: _job("Resumed"),
    AuditKind.JOB_STARTED: _job("Started"),
    AuditKind.JOB_STOPPED: _job("Stopped"),
    AuditKind.SEARCHED: _searched,
    AuditKind.SETTINGS_CHANGED: _settings,
    AuditKind.SIGNED_IN: _signed_in,
    AuditKind.SNOOZED: _snoozed,
    AuditKind.SUBMITTED: _submitted,
}
