"""The handover in words: sections of lines with links; and as Markdown. Pure."""

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
from tracking.reports.team.handover import ENTRIES_READ, UNSENT, Acts, Handover

ELSEWHERE = "elsewhere"
NOTHING = "Nothing."
OUTAGES_LISTED = 6
_MARKED = re.compile(r"([\\`*_\[\]<>#|~])")
_VIEWS = {
    "unassigned": "Unassigned", "unknown": "Unconfirmed send", "late": "Late", "approval": "Needs approval",
    "open": "Open in all",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """A line of plain text: a few words, and what is to say of them.

    `page` is the path of the page that shows what it is about, `query` its parameters.
    """

    label: str
    more: str = ""
    page: str = ""
    query: Mapping[str, str | list[str]] = field(default_factory=dict)
    joint: str = ": "

    @property
    def text(self) -> str:
        """All of it."""
        return self.joint.join(part for part in (self.label, self.more) if part)


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
        Section("To do now", tuple(_open(handed))),
        Section("Incidents and outages", tuple(_troubles(handed))),
        Section("Decided and done", tuple(_acts(handed))),
        Section("Snoozed", tuple(_snoozed(handed))),
        Section("Jobs, imports and unsent orders", tuple(_jobs(handed))),
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
    if not (base and line.page):
        return _escaped(line.text)
    query = f"?{urlencode(dict(line.query), doseq=True)}" if line.query else ""
    more = f"{line.joint}{_escaped(line.more)}" if line.more else ""
    return f"[{_escaped(line.label)}]({base.rstrip('/')}/{line.page}{query}){more}"


def _escaped(text: str) -> str:
    return _MARKED.sub(r"\\\1", wording.plain(text))


def _orders(number: ViewCount) -> str:
    """How many, as in "at least 1,000 orders"."""
    return f"{'at least ' if number.more else ''}{wording.count(number.orders, 'order')}"


def _open(handed: Handover) -> Iterator[Line]:
    capped = "at least " if handed.decisions.capped else ""
    if handed.decisions.total:
        asleep = f", and {handed.decisions.snoozed:,} snoozed" if handed.decisions.snoozed else ""
        total = f"{capped}{wording.count(handed.decisions.total, 'order')}{asleep}"
        yield Line("Needs decision", total, "orders", {"view": "attention"})
    for group in handed.decisions.groups:
        oldest = wording.clock(group.oldest.created_at, handed.until)
        number = f"{capped}{wording.count(group.orders, 'order')}"
        more = f"{number}, {amounts.worth(group.values)}, the oldest placed {oldest}"
        yield Line(reason_label(group.reason), more, "orders", {"view": "attention", "reason": group.reason})
    for view, label in _VIEWS.items():
        number_of = handed.views.get(view)
        if number_of is not None and number_of.orders:
            query = {"view": view} | ({"each": "true"} if view == "late" else {})
            yield Line(label, _orders(number_of), "orders", query)


def _troubles(handed: Handover) -> Iterator[Line]:
    for banner in health_banners(handed.health, handed.late, handed.until):
        query = dict(banner.orders) if banner.orders is not None else {}
        yield Line("Now", banner.text, "orders" if query else "activity", query)
    yield from _outages(handed)
    silence = handed.outages.silence
    if silence is not None and silence.ended_at is not None:
        yield Line(_span(silence.since, silence.ended_at, handed.until), "no webhooks came", "activity")
    for entry in handed.settings:
        query = {"kind": entry.kind, "since": handed.since.isoformat()}
        yield Line(wording.clock(entry.at, handed.until), entry.text, "audit", query)


def _outages(handed: Handover) -> Iterator[Line]:
    failed = {"what": "calls", "failed": "true"}
    outages = sorted(handed.outages.outages, key=lambda outage: outage.calls)[-OUTAGES_LISTED:]
    for outage in sorted(outages, key=lambda outage: outage.began_at):
        span = _span(outage.began_at, outage.ended_at, handed.until)
        calls = wording.count(outage.calls, "API call")
        yield Line(span, f"{calls} failed one after another ({outage.why.lower()})", "activity", failed)
    if (left := len(handed.outages.outages) - len(outages)) > 0:
        yield Line(f"{left:,} more", "with fewer failed calls", "activity", failed, " ")
    if handed.outages.failed:
        calls = f"{handed.outages.failed:,} of {wording.count(handed.outages.calls, 'call')} failed"
        yield Line("API calls", calls, "activity", failed)


def _span(begin: datetime, end: datetime | None, now: datetime) -> str:
    since = wording.clock(begin, now)
    return f"{since} to {wording.clock(end, begin)}" if end else f"Since {since}"


def _acts(handed: Handover) -> Iterator[Line]:
    for acts in handed.acts:
        query = {"person": acts.who, "kind": acts.kind, "since": handed.since.isoformat()}
        label = LABELS.get(acts.kind, acts.kind) + (f": {acts.act}" if acts.act else "")
        label += f" for {acts.purpose}" if acts.purpose else ""
        yield Line(label, f"by {_numbers(acts)}", "audit", query, " ")


def _numbers(acts: Acts) -> str:
    """Who did it, how often, with how many orders, what came of jobs so far, and examples."""
    parts = [wording.person(acts.who) or ""]
    parts += [f"{acts.number:,} times"] if acts.number > 1 else []
    parts += [f"{acts.jobs:,} jobs"] if acts.jobs > 1 and acts.number != acts.jobs else []
    parts += [wording.count(acts.orders, "order")] if acts.orders else []
    parts += ["{:,} done, {:,} skipped by now".format(*acts.outcome)] if acts.outcome and acts.orders else []
    examples = [*acts.po_numbers, *(f"job {job_id}" for job_id in acts.job_ids)]
    left = acts.jobs - len(acts.job_ids) if acts.jobs else max(acts.orders, acts.number) - len(examples)
    more = f" and {left:,} more" if left > 0 else ""
    return ", ".join(parts) + (f" ({', '.join(examples)}{more})" if examples else "")


def _snoozed(handed: Handover) -> Iterator[Line]:
    for order in handed.snoozed:
        until = f"until {wording.clock(order.until, handed.until)}" if order.until else "until something changes"
        who = f", assigned to {order.assignee}" if order.assignee else ""
        yield Line(order.po_number, f"{until}{who}", "timeline", {"order": order.po_number}, " ")
    number = handed.views.get("snoozed")
    if number is not None and (left := number.orders - len(handed.snoozed)) > 0:
        yield Line(f"{'At least ' if number.more else ''}{left:,} more", "", "orders", {"view": "snoozed"})


def _jobs(handed: Handover) -> Iterator[Line]:
    for job in handed.jobs:
        ends = f", complete at about {wording.clock(job.ends_at, handed.until)}" if job.ends_at else ""
        skipped = f", {job.skipped:,} skipped" if job.skipped else ""
        text = f"“{job.act}” by {wording.person(job.person)}, {job.state_label}, "
        text += f"{job.done:,} of {wording.count(job.total, 'order')} done{skipped}{ends}"
        yield Line(f"Job {job.id}", text, "jobs", {"job": str(job.id)})
    if handed.unsent.orders:
        yield Line("Not sent yet", _orders(handed.unsent), "orders", {"state": list(UNSENT)})


def _arrivals(handed: Handover) -> Iterator[Line]:
    arrivals, came = handed.arrivals, {"from": handed.since.isoformat()}
    if not arrivals.orders.orders:
        return
    is_part = arrivals.orders.more or arrivals.orders.orders > arrivals.read
    part = f", of the newest {arrivals.read:,}" if is_part else ""
    yield Line("Orders", _orders(arrivals.orders), "orders", came)
    yield Line("Worth", f"{amounts.worth(arrivals.values)}{part}", "orders", came)
    types = ", ".join(f"{number:,} {TYPES.get(kind, kind)}" for kind, number in _largest(arrivals.by_type))
    yield Line("By type", f"{types}{part}", "orders", came)
    if others := arrivals.by_source.get(ELSEWHERE):
        text = f"{wording.count(others, 'order')}{part}"
        yield Line("By other systems", text, "orders", came | {"source": ELSEWHERE})


def _largest(numbers: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(numbers.items(), key=lambda each: (-each[1], each[0]))


def _ended(handed: Handover) -> Iterator[Line]:
    since = handed.since.isoformat()
    for state, number in handed.ended.items():
        query = {"done_from": since} if state == State.COMPLETED else {"state": state, "ended_from": since}
        if number.orders:
            yield Line(state_label(state), _orders(number), "orders", {**query, "watched": "true"})


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
