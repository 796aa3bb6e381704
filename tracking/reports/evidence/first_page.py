"""The first page of an evidence file: what the order is and came to, as one HTML file to read and to print. Pure.

It follows from the other files alone, so that whoever has them can make it again and compare. It runs no script,
fetches nothing, and takes no text from outside for markup. All times on it are in UTC.
"""

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from html import escape, unescape
from typing import Any

from tracking.orders import wording
from tracking.orders.event_chain import hashed_time
from tracking.orders.model import Order, WebhookStatus, Witness
from tracking.orders.wording import TimelineEntry, count, money, plain
from tracking.reports.evidence.account import Account, in_utc
from tracking.reports.evidence.layout import (
    CALLS,
    DOCUMENT,
    EVENTS,
    LINES,
    MANIFEST,
    WEBHOOKS,
    manifest_mark,
    read_jsonl,
)
from tracking.reports.evidence.proof import FACT_LABELS, facts, verdict
from tracking.reports.order_page.runs import merge_repeats

LINES_ON_PAGE = 1000
ROWS_ON_PAGE = 2000
_STYLE = """
body{font:14px/1.45 system-ui,sans-serif;color:#1a1a1a;background:#fff;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.7rem;margin:0 0 .25rem;overflow-wrap:anywhere}
h2{font-size:1.1rem;margin:1.8rem 0 .5rem;border-bottom:2px solid #1a1a1a}
p{margin:.35rem 0}.verdict{font-size:1.15rem;font-weight:600;margin:.6rem 0}.made{color:#555}
.fault{border:2px solid #b00020;padding:.5rem .8rem;margin:1rem 0}.fault h2{border:0;margin:0;color:#b00020}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:.2rem .6rem .2rem 0;border-bottom:1px solid #ddd}
.facts td,td:last-child{overflow-wrap:anywhere}thead th{border-bottom:1px solid #1a1a1a;font-weight:600}
.facts th{width:15rem;font-weight:400;color:#555}td.time{white-space:nowrap;font-variant-numeric:tabular-nums}
td.n,th.n{text-align:right;padding-right:1.2rem;font-variant-numeric:tabular-nums}
code,pre{font:12px/1.5 ui-monospace,monospace;overflow-wrap:anywhere;white-space:pre-wrap}
pre{background:#f4f4f4;padding:.5rem .8rem;margin:.4rem 0}
@media(max-width:40rem){.facts th{width:8rem}}
@media print{body{font-size:9.5pt;margin:0;max-width:none;padding:0}
tr,.fault,pre{break-inside:avoid}h2{break-after:avoid}
thead{display:table-header-group}pre{background:none;border:1px solid #bbb}@page{size:A4;margin:16mm 14mm}}
""".replace("\n", "")
_FACT_ROW = re.compile(r'<tr><th scope="row">([^<]{1,100})</th><td>([^<]*)</td></tr>')
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def first_page(manifest: Mapping[str, Any], account: Account, files: Mapping[str, bytes]) -> bytes:
    """The page; `manifest` is read without its `files`, which hold the hash of this one."""
    with in_utc():
        parts = _parts(manifest, account, files)
        return "\n".join(parts).encode("utf-8", "backslashreplace")


def _parts(manifest: Mapping[str, Any], account: Account, files: Mapping[str, bytes]) -> Iterator[str]:
    order, po_number = account.order, manifest["order"]["po_number"]
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">'
    yield manifest_mark(manifest)
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>Evidence: {_text(po_number)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>"
    yield f"<h1>Evidence for order {_text(po_number)}</h1>"
    yield from _made(manifest)
    if account.faults:
        yield '<div class="fault"><h2>This log does not hold</h2>'
        yield from (f"<p>{_text(fault)}</p>" for fault in account.faults[:20])
        yield "</div>"
    if order is not None:
        yield f'<p class="verdict">{_text(verdict(order))}</p>'
        yield from _witnesses(order, account.timeline, files)
        yield from _table("The order", "facts", [], fact_rows(order).items())
    if removed := manifest["order"].get("removed"):
        yield "<h2>What is not in this file</h2>"
        yield f"<p>{_text(removed['text'])}. The log here begins after them, with the facts by then in {MANIFEST}. The"
        yield f"hash of the last of them:</p>\n<pre>{_text(removed['last_hash'])}</pre>"
    yield from _story(account.timeline)
    yield from _people(account.timeline)
    yield from _recorded(files, manifest["left_out"])
    yield from _how_to_verify(manifest)
    yield from _lines(account.lines)
    yield "</body>\n</html>\n"


def _text(value: object) -> str:
    return escape(plain(value))


def _made(manifest: Mapping[str, Any]) -> Iterator[str]:
    proof = "signed in" if manifest["signed_in"] else "name not proven by a sign-in"
    hidden = "recipients masked" if manifest["masked"] else "recipients in full"
    made = f"{_moment(manifest['made_at'])} by {manifest['made_by']} ({proof}), with {manifest['made_with']}"
    yield f'<p class="made">Made {_text(made)}; {hidden}. All times are in UTC.</p>'


def _moment(text: str) -> str:
    return f"{text[:19]} UTC"


def fact_rows(order: Order) -> dict[str, str]:
    """Every fact that is set, by its label; part of the format: a page is held against it."""
    return {FACT_LABELS[name]: text for name, text in facts(order, _exact).items()}


def _exact(at: datetime) -> str:
    return f"{hashed_time(at)} UTC"


def read_facts(page: bytes) -> dict[str, str]:
    """The facts that a page shows, by their labels. Whatever it is, this raises nothing."""
    rows: dict[str, str] = {}
    for label, text in _FACT_ROW.findall(page.decode("utf-8", "replace")):
        rows[unescape(label)] = unescape(text) if unescape(label) not in rows else "there twice"
    return rows


def _witnesses(order: Order, timeline: Sequence[TimelineEntry], files: Mapping[str, bytes]) -> Iterator[str]:
    yield "<h2>Both witnesses</h2>"
    polls = [entry for entry in timeline if entry.witness == Witness.POLL]
    if polls:
        first, last = min(entry.at for entry in polls), max(entry.at for entry in polls)
        text = f"log entries: {len(polls):,}, from {_at(first)} to {_at(last)}."
        yield f"<p><b>Our polls:</b> {text} The provider's last word: {_text(order.provider_status or 'none')}.</p>"
    else:
        yield "<p><b>Our polls:</b> none is in the log.</p>"
    yield f"<p><b>The provider's webhook:</b> {_webhook_text(order, files)}</p>"


def _webhook_text(order: Order, files: Mapping[str, bytes]) -> str:
    received = len(_records(files, WEBHOOKS))
    calls = f"{count(received, 'webhook call')} on record." if received else "No webhook call is on record."
    since = f" at {_at(order.claimed_at)}" if order.claimed_at else ""
    match order.notice:
        case WebhookStatus.NONE:
            return f"none said that it is complete. {calls}"
        case WebhookStatus.CLAIMED:
            return f"said complete{since}; no poll has confirmed it. {calls}"
        case WebhookStatus.CONFIRMED:
            return f"said complete{since}; our polls say the same. {calls}"
    return f"said complete{since}; our polls contradict it. {calls}"


def _at(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _story(timeline: Sequence[TimelineEntry]) -> Iterator[str]:
    merged = merge_repeats(sorted(timeline, key=lambda entry: (entry.at, entry.seq)))
    rows = [(_at(entry.at), wording.source_label(entry.witness), entry.text) for entry in merged]
    yield from _table("What happened", "story", ["Time (UTC)", "Source", "Event"], _first(rows, EVENTS))


def _people(timeline: Iterable[TimelineEntry]) -> Iterator[str]:
    acts = [entry for entry in timeline if entry.actor]
    rows = [(_at(entry.learned_at), wording.person(entry.actor), entry.text) for entry in acts]
    if rows:
        yield from _table("Who did what", "people", ["Time (UTC)", "Who", "Act"], _first(rows, EVENTS))
    else:
        yield "<h2>Who did what</h2>\n<p>The log names nobody.</p>"


def _first(rows: list[Any], name: str, most: int = ROWS_ON_PAGE) -> list[Any]:
    return rows if len(rows) <= most else [*rows[:most], ("…", "", f"{len(rows) - most:,} more: {name}")]


def _lines(lines: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    rows = [
        (*(line[name] for name in ("number", "product_id")), money(line["value_minor"], line["currency"]),
         *(line[name] for name in ("quantity", "status", "claims")),
         line["recipient"] or ("erased" if line["recipient_hash"] else ""))
        for line in lines
    ]  # fmt: skip
    columns = ["Line", "Product", "Value", "Cards", "Status", "Claim data", "Recipient"]
    first = rows if len(rows) <= LINES_ON_PAGE else rows[:LINES_ON_PAGE]
    yield from _table(f"Lines ({len(rows):,})", "lines", columns, first)
    if len(rows) > LINES_ON_PAGE:
        yield f"<p>And {len(rows) - LINES_ON_PAGE:,} more: {LINES}.</p>"


def _recorded(files: Mapping[str, bytes], left_out: Mapping[str, Any]) -> Iterator[str]:
    yield "<h2>What was recorded beside the log</h2>"
    for name, noun in ((CALLS, "API call"), (WEBHOOKS, "webhook call")):
        rest = f"; {left_out[name]:,} older are left out" if left_out.get(name) else ""
        yield f"<p>{_text(name)}: {count(len(_records(files, name)), noun)}{rest}.</p>"
    document = "nothing: the provider has shown none" if files[DOCUMENT].strip() == b"null" else "its latest answer"
    yield f"<p>{_text(DOCUMENT)}: {document}, without claim data. None of these is part of the chain.</p>"


def _records(files: Mapping[str, bytes], name: str) -> list[Any]:
    with contextlib.suppress(ValueError):
        return read_jsonl(files[name])
    return []


def _how_to_verify(manifest: Mapping[str, Any]) -> Iterator[str]:
    order, head = manifest["order"], manifest["log_head"]
    events, number = count(order["events"], "event"), f"{order['newest_event_id']:,}"
    of_all = f"then: <code>{_text(head)}</code>" if head else "was not computed for this file"
    yield "<h2>How to verify it</h2>"
    yield "<p>On any machine with this console's package, without its database:</p>"
    yield "<pre>tracking verify-evidence FILE</pre>"
    yield f"<p>By hand: {MANIFEST} lists the SHA-256 of every other file. Each line of {EVENTS}, without its end, is"
    yield "an event as it was hashed: its SHA-256 is the last text in the next line, and that of the last line is the"
    yield f"order's head:</p>\n<pre>{_text(order['head'])}</pre>"
    yield f"<p>It stands for {events}; the newest is number {number} in the console's log, whose head {of_all}.</p>"
    yield "<p>What it proves: no event was changed, left out, put in or moved since it was written, and the facts and"
    yield "lines here are what the events say. What it cannot prove by itself: whoever can write the database writes"
    yield "another log and another file. Hold the head, or the SHA-256 of this file, which the audit log of the console"
    yield "has, against a copy that was kept elsewhere.</p>"


def _table(title: str, kind: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    yield f'<h2>{_text(title)}</h2>\n<div class="scroll"><table class="{kind}">'
    right = [column in {"Line", "Value", "Cards", "Claim data"} for column in columns]
    if columns:
        cells = (f'<th scope="col"{_class(n)}>{_text(c)}</th>' for c, n in zip(columns, right, strict=True))
        yield f"<thead><tr>{''.join(cells)}</tr></thead>"
    for row in rows:
        yield f"<tr>{''.join(_cells(row, columns, right))}</tr>"
    yield "</table></div>"


def _class(number: bool) -> str:
    return ' class="n"' if number else ""


def _cells(row: Sequence[Any], columns: Sequence[str], right: Sequence[bool]) -> Iterator[str]:
    if not columns:
        yield f'<th scope="row">{_text(row[0])}</th><td>{_text(row[1])}</td>'
        return
    for column, number, value in zip(columns, right, row, strict=True):
        kind = ' class="time"' if column.startswith("Time") else _class(number)
        yield f"<td{kind}>{_text('' if value is None else value)}</td>"
