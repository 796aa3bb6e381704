"""The handover in words: sections of lines, each with the way to what it is about; and all of it as Markdown. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import urlencode

from tracking.orders import wording
from tracking.orders.model import State
from tracking.orders.vocabulary import reason_label, state_label
from tracking.reports import amounts
from tracking.reports.banners import health_banners
from tracking.reports.explanations import TYPES
from tracking.reports.order_list.view_counts import ViewCount
from tracking.reports.team.audit_wording import LABELS
from tracking.reports.team.handover import ENTRIES_READ, Acts, Handover
from tracking.reports.team.outages import Outage

ELSEWHERE = "elsewhere"
NOTHING = "Nothing."
OUTAGES_LISTED = 6
_MARKED = re.compile(r"([\\`*_\[\]<>#|~])")
_VIEWS = (
    ("unassigned", "need a decision and nobody has them", "needs a decision and nobody has it"),
    ("unknown", "sent and not confirmed", "sent and not confirmed"),
    ("late", "late", "late"),
    ("approval", "wait for an approval", "waits for an approval"),
    ("open", "open in all", "open in all"),
)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of plain text; `page` is the path of the page that shows what it is about, `query` its parameters."""

    text: str
    page: str = ""
    query: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the handover. Without lines there is nothing to hand on."""

    title: str
    lines: tuple[Line, ...]


def title(handed: Handover) -> str:
    """What it is and of which time."""
    return f"Handover, {wording.clock(handed.since)[:-3]} to {wording.clock(handed.until, handed.since)[:-3]}"


def sections(handed: Handover) -> list[Section]:
    """All parts, in the order in which a reader needs them: what is open first."""
    return [
        Section("Open now", tuple(_open(handed))),
        Section("Incidents and outages", tuple(_troubles(handed))),
        Section("Decided and done", tuple(_acts(handed))),
        Section("Snoozed", tuple(_snoozed(handed))),
        Section("Jobs and imports at work", tuple(_jobs(handed))),
        Section("Came in", tuple(_arrivals(handed))),
        Section("Ended", tuple(_ended(handed))),
        Section("What this does not know", tuple(_unknown(handed))),
    ]


def markdown(handed: Handover, zone: str, base: str = "") -> str:
    """The handover as Markdown; with a `base`, the address of the pages, each line leads to what it is about."""
    parts = [f"# {_escaped(title(handed))} ({_escaped(zone)})"]
    for section in sections(handed):
        lines = [_linked(line, base) for line in section.lines] or [NOTHING]
        parts.append("\n".join([f"## {section.title}", "", *(f"- {line}" for line in lines)]))
    return "\n\n".join(parts) + "\n"


def _linked(line: Line, base: str) -> str:
    text = _escaped(line.text)
    if not (base and line.page):
        return text
    query = f"?{urlencode(dict(line.query))}" if line.query else ""
    return f"[{text}]({base.rstrip('/')}/{line.page}{query})"


def _escaped(text: str) -> str:
    return _MARKED.sub(r"\\\1", wording.plain(text))


def _orders(number: ViewCount) -> str:
    """How many, as in "at least 1,000 orders"."""
    return f"{'at least ' if number.more else ''}{wording.count(number.orders, 'order')}"


def _open(handed: Handover) -> Iterator[Line]:
    capped = "at least " if handed.decisions.capped else ""
    for group in handed.decisions.groups:
        oldest = wording.clock(group.oldest.created_at, handed.until)
        text = (
            f"{reason_label(group.reason)}: {capped}{wording.count(group.orders, 'order')}, "
            f"{amounts.worth(group.values)}, the oldest placed {oldest}"
        )
        yield Line(text, "orders", {"view": "attention", "reason": group.reason})
    for view, many, one in _VIEWS:
        number = handed.views.get(view)
        if number is not None and number.orders:
            query = {"view": view} | ({"each": "true"} if view == "late" else {})
            yield Line(f"{_orders(number)} {one if number.orders == 1 else many}", "orders", query)


def _troubles(handed: Handover) -> Iterator[Line]:
    for banner in health_banners(handed.health, handed.late, handed.until):
        query = dict(banner.orders) if banner.orders is not None else {}
        yield Line(f"Now: {banner.text}", "orders" if query else "", query)
    failed = {"what": "calls", "failed": "true"}
    outages = sorted(handed.outages.outages, key=lambda outage: outage.calls)[-OUTAGES_LISTED:]
    for outage in sorted(outages, key=lambda outage: outage.began_at):
        yield Line(_outage(outage, handed.until), "activity", failed)
    if (left := len(handed.outages.outages) - len(outages)) > 0:
        yield Line(f"and {left:,} shorter ones", "activity", failed)
    silence = handed.outages.silence
    if silence is not None and silence.ended_at is not None:
        since, until = wording.clock(silence.since, handed.until), wording.clock(silence.ended_at, handed.until)
        yield Line(f"No webhooks from {since} to {until}", "activity")
    if handed.outages.failed:
        calls = wording.count(handed.outages.calls, "API call")
        yield Line(f"{handed.outages.failed:,} of {calls} failed", "activity", failed)
    for entry in handed.settings:
        text = f"{wording.clock(entry.at, handed.until)}: {entry.text}"
        yield Line(text, "audit", {"kind": entry.kind, "since": handed.since.isoformat()})


def _outage(outage: Outage, now: datetime) -> str:
    until = f" to {wording.clock(outage.ended_at, outage.began_at)}" if outage.ended_at else ", not over yet"
    calls = f"{wording.count(outage.calls, 'API call')} failed one after another"
    return f"Provider, from {wording.clock(outage.began_at, now)}{until}: {calls} ({outage.why.lower()})"


def _acts(handed: Handover) -> Iterator[Line]:
    for acts in handed.acts:
        query = {"person": acts.who, "kind": acts.kind, "since": handed.since.isoformat()}
        yield Line(f"{_who(acts)}: {_act(acts)}", "audit", query)


def _who(acts: Acts) -> str:
    return wording.person(acts.who) or ""


def _act(acts: Acts) -> str:
    label = LABELS.get(acts.kind, acts.kind).lower()
    times = f" {acts.number:,} times" if acts.number > 1 else ""
    of_many = f", {wording.count(acts.orders, 'order')}" if acts.orders else ""
    examples = [*acts.po_numbers, *(f"job {job_id}" for job_id in acts.job_ids)]
    left = acts.number - len(examples)
    more = f" and {left:,} more" if left > 0 else ""
    return f"{label}{times}{of_many}" + (f" ({', '.join(examples)}{more})" if examples else "")


def _snoozed(handed: Handover) -> Iterator[Line]:
    for order in handed.snoozed:
        until = f"until {wording.clock(order.until, handed.until)}" if order.until else "until something changes"
        who = f", assigned to {order.assignee}" if order.assignee else ""
        yield Line(f"{order.po_number} {until}{who}", "timeline", {"order": order.po_number})
    number = handed.views.get("snoozed")
    if number is not None and (left := number.orders - len(handed.snoozed)) > 0:
        more = "at least " if number.more else ""
        yield Line(f"and {more}{left:,} more", "orders", {"view": "snoozed"})


def _jobs(handed: Handover) -> Iterator[Line]:
    for job in handed.jobs:
        ends = f", complete at about {wording.clock(job.ends_at, handed.until)}" if job.ends_at else ""
        skipped = f", {job.skipped:,} skipped" if job.skipped else ""
        text = f"Job {job.id}, “{job.act}” by {wording.person(job.person)}, {job.state_label}: "
        text += f"{job.done:,} of {wording.count(job.total, 'order')} done{skipped}{ends}"
        yield Line(text, "jobs", {"job": str(job.id)})


def _arrivals(handed: Handover) -> Iterator[Line]:
    arrivals = handed.arrivals
    if not arrivals.orders.orders:
        return
    came = {"from": handed.since.isoformat()}
    is_part = arrivals.orders.more or arrivals.orders.orders > arrivals.read
    part = f", of the newest {arrivals.read:,}" if is_part else ""
    yield Line(f"{_orders(arrivals.orders)}, worth {amounts.worth(arrivals.values)}{part}", "orders", came)
    types = ", ".join(f"{number:,} {TYPES.get(kind, kind)}" for kind, number in _largest(arrivals.by_type))
    yield Line(f"By type: {types}{part}", "orders", came)
    if others := arrivals.by_source.get(ELSEWHERE):
        yield Line(f"{others:,} placed by other systems{part}", "orders", came | {"source": ELSEWHERE})


def _largest(numbers: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(numbers.items(), key=lambda each: (-each[1], each[0]))


def _ended(handed: Handover) -> Iterator[Line]:
    since = handed.since.isoformat()
    for state, number in handed.ended.items():
        query = {"done_from": since} if state == State.COMPLETED else {"state": state, "ended_from": since}
        if number.orders:
            yield Line(f"{state_label(state)}: {_orders(number)}", "orders", {**query, "watched": "true"})


def _unknown(handed: Handover) -> Iterator[Line]:
    if (at := handed.outages.calls_since) is not None:
        yield Line(
            f"API calls before {wording.clock(at, handed.until)} are not stored or were not read: "
            "earlier outages may be missing."
        )
    elif not handed.outages.calls:
        yield Line("No API call of this time is stored: outages of the provider would not be known.")
    yield Line("Only the last time without webhooks is stored, and no time at which a background worker stood still.")
    if handed.acts_capped:
        yield Line(
            f"Only the newest {ENTRIES_READ:,} entries of the audit log were read: what was done is at least this."
        )
