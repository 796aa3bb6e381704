"""Wording for people: events as sentences, amounts, durations, times. Pure."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from tracking.orders.model import Witness, condense_numbers, expand_numbers
from tracking.orders.vocabulary import AttentionReason, EventKind, PollReason, reason_label

FIRST_LINES = 5
LONGEST_NUMBERS = 40  # letters of the numbers of lines within a sentence
# Currencies of other than two decimals (ISO 4217).
_DECIMALS = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND"), 0),
    **dict.fromkeys(("VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}
SAME_MOMENT = timedelta(minutes=1)
# The smaller of the two units in which `duration` tells a length up to so long.
_DURATION_STEPS = ((timedelta(hours=1), timedelta(seconds=1)), (timedelta(days=1), timedelta(minutes=1)))
# The time zone of written times: UTC, or the one the reader has chosen, while their page is made.
TIME_ZONE: ContextVar[tzinfo] = ContextVar("time zone", default=UTC)
# Marks that turn the order of the letters around, also of those that follow.
_TURNING = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")

_WHO: dict[str, str] = {
    Witness.US: "Console",
    Witness.ANSWER: "API answer",
    Witness.POLL: "Poll",
    Witness.WEBHOOK: "Webhook",
}
_SOURCES: dict[str, str] = _WHO | {Witness.PERSON: "Operator"}


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One row of a timeline: an event in a sentence, or a run of equal ones. `ahead` marks what is still to come."""

    at: datetime
    learned_at: datetime
    until: datetime
    witness: str
    kind: str
    text: str
    seq: int = 0
    count: int = 1
    ahead: bool = False
    actor: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    detail: Mapping[str, Any] = field(default_factory=dict)
    line_changes: Sequence[Mapping[str, Any]] = ()


def source_label(witness: str) -> str:
    """Who says something of an order, as people read it."""
    return _SOURCES.get(witness, witness)


def plain(text: object) -> str:
    """Text from outside for people: all of it, and what stands beside it, reads in the order it was written in."""
    return _TURNING.sub("\ufffd", str(text))


def decimals(currency: str | None) -> int:
    """How many decimals amounts of the currency have."""
    return _DECIMALS.get((currency or "").upper(), 2)


def amount(minor: int, currency: str | None = None) -> str:
    """Hundredths of the currency's unit as a decimal text with as many decimals as it has, and all that are needed.

    12500 is "125.00"; of yen, which have no decimals, it is "125".
    """
    return _decimal_text(minor, currency, "")


def money(minor: int, currency: str | None) -> str:
    """The amount for people, with its currency, or that nobody knows that."""
    return f"{_decimal_text(minor, currency, ',')} {currency or '(currency unknown)'}"


def _decimal_text(minor: int, currency: str | None, separator: str) -> str:
    whole, rest = divmod(abs(minor), 100)
    digits = decimals(currency)
    fraction = f"{rest:02d}".ljust(digits, "0") if digits or rest else ""
    return f"{'-' if minor < 0 else ''}{whole:{separator}}{'.' if fraction else ''}{fraction}"


def duration(length: timedelta) -> str:
    """A length of time in its two largest units, rounded down: at least so long; never negative."""
    minutes, seconds = divmod(max(0, int(length.total_seconds())), 60)
    (hours, minutes), (days, rest) = divmod(minutes, 60), divmod(minutes // 60, 24)
    if days:
        return f"{days} d {rest} h"
    if hours:
        return f"{hours} h {minutes} min"
    if minutes:
        return f"{minutes} min {seconds} s" if seconds else f"{minutes} min"
    return f"{seconds} s"


def longest(length: timedelta) -> str:
    """The same rounded up, for "within" and "at the most"."""
    step = next((step for below, step in _DURATION_STEPS if length <= below), timedelta(hours=1))
    return duration(-(-length // step) * step)


def clock(at: datetime, day: datetime | None = None) -> str:
    """The time of day in the reader's zone, with the date in front unless it is the same as `day`'s there."""
    zone = TIME_ZONE.get()
    at = at.astimezone(zone)
    same = day is not None and day.astimezone(zone).date() == at.date()
    return at.strftime("%H:%M:%S" if same else "%Y-%m-%d %H:%M:%S")


def latest(at: datetime, day: datetime | None = None, step: timedelta = timedelta(seconds=1)) -> str:
    """The same rounded up to a full second, or to a full `step`, for "before", "by" and "at the latest"."""
    beyond = (at.astimezone(UTC) - datetime.min.replace(tzinfo=UTC)) % step
    return clock(at + (step - beyond) % step, day)


def window(after: datetime | None, by: datetime, day: datetime) -> str:
    """When something came about as far as two looks know: "20:31 to 23:59", "23:59:47" where they lie close together.

    Without a look before (`after`) nobody knows more than "before 23:59:47". Dates are left out where they are `day`'s.
    Rounded outwards.
    """
    if after is None:
        return f"before {latest(by, day)}"
    if by - after <= SAME_MOMENT:
        return latest(by, day)
    return f"{clock(after, day)[:-3]} to {latest(by, after, SAME_MOMENT)[:-3]}"


def ago(at: datetime | None, now: datetime) -> str:
    """How long ago it was."""
    return "never" if at is None else f"{duration(now - at)} ago"


def decision_words(
    words: str | None, reason: str | None, webhook_at: datetime | None = None, day: datetime | None = None
) -> str:
    """Why an order needs a decision, as stored; empty where it needs none.

    The stored words on a webhook that polls do not confirm hold a length of time, which was true when they were
    written; in their place stand words that stay true, with the time of the webhook where it is given.
    """
    if words is None or reason != AttentionReason.WEBHOOK_NOT_CONFIRMED:
        return words or ""
    label = reason_label(reason)
    return f"{label[0].lower()}{label[1:]}{f' (webhook at {clock(webhook_at, day)})' if webhook_at else ''}"


def verdict(total: int, number: int, late: int, oldest: timedelta | None, attention: int, snoozed: int = 0) -> str:
    """The overview in one sentence: of `total` orders, `number` are open; `snoozed` would need a decision."""
    if total == 0:
        return "No orders yet"
    asks = f"{count(attention, 'order')} {'needs' if attention == 1 else 'need'} a decision. " if attention else ""
    if snoozed:
        asks = f"{asks.removesuffix('. ')}{', ' if asks else ''}{snoozed:,} snoozed. "
    if not number:
        return f"{asks}Nothing is open"
    age = f"; oldest {duration(oldest)}" if oldest else ""
    return f"{asks}{number:,} open, {f'{late:,}' if late else 'none'} late{age}"


def count(number: int, noun: str) -> str:
    """A number with its noun: "1 line", "50 lines", "2 deliveries"."""
    many = f"{noun[:-1]}ies" if noun.endswith("ery") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else many}"


# Events as sentences

_EVENT_SENTENCES: dict[str, str] = {
    EventKind.DISCOVERED: "Discovered by poll: placed by another system, lines: {lines}",
    EventKind.SENDING: "Sending to provider, attempt {attempt}",
    EventKind.ACCEPTED: "Accepted as {provider_id}, {status}",
    EventKind.ADOPTED: "Matched existing {provider_id}, {status} (no duplicate)",
    EventKind.REFUSED: "Refused by the provider: {reason}",
    EventKind.NOT_SENT: "Not sent, still queued: {reason}",
    EventKind.OUTCOME_UNKNOWN: "No usable answer: {reason}. The provider may have the order.",
    EventKind.PO_NUMBER_MISMATCH: "PO number already in use at the provider: {reason}",
    EventKind.NOT_FOUND: "Poll: the provider does not know the order (404)",
    EventKind.LINES_CHANGED: "Lines of the final order changed",
    EventKind.CONTRADICTION: "{who} contradicts our record: {what}",
    EventKind.WEBHOOK_CLAIMED: "Webhook: complete (awaiting confirmation)",
    EventKind.WEBHOOK_CONFIRMED: "Webhook: complete (already confirmed by poll)",
    EventKind.WEBHOOK_REPEATED: "Duplicate webhook, ignored",
    EventKind.ANSWER_REPEATED: "Duplicate API answer, ignored",
    EventKind.CLAIMS_CHANGED: "Claim data changed, lines: {lines}",
    EventKind.CLAIMS_REVEALED: "{who} revealed the claim data of unit {unit} of line {line}",
    EventKind.NOTED: "Note by {who}: {text}",
    EventKind.RECIPIENTS_ERASED: "{who} erased the recipient, lines: {lines}",
    EventKind.ACKNOWLEDGED: "Acknowledged by {who}: {text}",
}
_WORK_SENTENCES: dict[str, str] = {
    EventKind.SNOOZE_ENDED: "{who} ended the snooze",
    EventKind.REOPENED: "Reopened by {who}",
    EventKind.APPROVED: "Approved by {who}: it may be sent",
    EventKind.DECLINED: "Declined by {who}: it is not sent",
}
SOURCES = {"form": "form", "csv": "CSV", "json": "JSON", "cli": "CLI", "api": "API", "elsewhere": "other system"}


def source_of(text: str) -> str:
    """The stored word for a source that somebody wrote as they read it, in any case; any other text as it is."""
    folded = text.strip().casefold()
    return next((word for word, label in SOURCES.items() if folded in {word, label.casefold()}), text.strip())


_ACTION_SENTENCES = {
    "resend": "{who} requested a resend",
    "place anew": "{who} placed this anew as {other}: both orders are wanted",
    "placed anew": "{who} placed this for {other}, whose PO number belongs to another order: both are wanted",
}
_POLL_REASONS: dict[str, str] = {
    PollReason.MAY_HAVE_FINISHED: "it may be complete by then",
    PollReason.REQUESTED: "requested by an operator",
    PollReason.WEBHOOK: "a webhook announced completion",
    PollReason.WEBHOOK_UNCONFIRMED: "announced complete, not confirmed yet",
    PollReason.LISTED_AS_COMPLETED: "listed as complete, to be confirmed",
    PollReason.ANSWERED_AS_COMPLETED: "answered as complete, to be confirmed",
    PollReason.LINES_MAY_CHANGE: "lines may still change",
    PollReason.NO_ANSWER: "the last poll got no answer",
}


def poll_reason(code: str | None) -> str | None:
    """Why the next poll is due when it is, for people; None where nothing is due or nobody knows why."""
    return _POLL_REASONS.get(code) if code is not None else None


def person(actor: str | None) -> str | None:
    """Who acted, for people; by the command line it is stored as "cli:NAME", by the API as "api:TOKEN"."""
    through, colon, name = (actor or "").partition(":")
    return f"{name} ({through.upper()})" if colon and through in {"cli", "api"} else actor


KINDS = tuple(sorted(kind.value for kind in EventKind))


def sentence(kind: str, witness: str, changes: Mapping[str, Any], detail: Mapping[str, Any]) -> str:
    """Actor, verb, object, outcome."""
    who = person(detail.get("actor")) or _WHO.get(witness, "Somebody")
    match kind:
        case EventKind.REQUESTED:
            return _describe_request(changes, detail)
        case EventKind.STILL_OPEN:
            return _describe_poll(changes, detail)
        case EventKind.COMPLETED | EventKind.CANCELLED:
            return _describe_completion(kind, changes, detail)
        case EventKind.ACCEPTED | EventKind.ADOPTED if detail.get("differs"):
            text = _EVENT_SENTENCES[kind].format_map(defaultdict(lambda: "unknown", detail))
            return f"{text} (what it shows differs: {detail['differs']})"
        case EventKind.ACTION_REQUESTED:
            action = _ACTION_SENTENCES.get(str(detail.get("what")), "{who} requested a poll")
            return action.format_map(defaultdict(lambda: "unknown", {**detail, "who": who}))
        case EventKind.ASSIGNED | EventKind.SNOOZED:
            return _describe_work(kind, who, changes)
        case kind if kind in _WORK_SENTENCES:
            why = f" ({detail['text']})" if detail.get("text") else ""
            return f"{_WORK_SENTENCES[kind].format(who=who)}{why}"
        case _:
            facts = defaultdict(lambda: "unknown", {**detail, "who": who, "kind": kind})
            return _EVENT_SENTENCES.get(kind, "{who}: {kind}").format_map(facts)


def _describe_work(kind: str, who: str, changes: Mapping[str, Any]) -> str:
    if kind == EventKind.ASSIGNED:
        assignee = changes.get("assignee")
        return f"Assigned to {assignee} by {who}" if assignee else f"{who} unassigned it"
    if until := changes.get("snoozed_until"):
        return f"Snoozed by {who} until {clock(datetime.fromisoformat(until))}"
    return f"Snoozed by {who} until something changes"


def _describe_request(changes: Mapping[str, Any], detail: Mapping[str, Any]) -> str:
    source = changes.get("source")
    who = person(changes.get("actor")) or "Somebody"
    values = detail.get("values") or {changes.get("currency"): changes.get("value_minor") or 0}
    value = " and ".join(money(minor, currency) for currency, minor in values.items())
    through = f" by {SOURCES.get(source, source)}" if source else ""
    waits = f"; it waits for a second operator's approval: {detail['waits']}" if detail.get("waits") else ""
    return f"{who} submitted {count(changes.get('units') or 0, 'card')}{through}, {value}{waits}"


def _describe_poll(changes: Mapping[str, Any], detail: Mapping[str, Any]) -> str:
    status = detail.get("status") or "nothing of its state"
    if detail.get("incomplete"):
        return f"Poll: {status}, but not all of it is there yet"
    return f"Status changed to {status}" if "state" in changes else f"Poll: still {status}"


def _describe_completion(kind: str, changes: Mapping[str, Any], detail: Mapping[str, Any]) -> str:
    word = kind.capitalize()
    if detail.get("first_sight"):
        return f"Poll: {word}, already so when first seen"
    after, by = changes.get("completed_after"), changes.get("completed_by")
    if not after or not by:
        return f"{word}, confirmed by poll"
    start, end = datetime.fromisoformat(after), datetime.fromisoformat(by)
    return f"{word} between {clock(start, end)} and {latest(end, end)}, confirmed by poll"


def _line_text(line_changes: Sequence[Mapping[str, Any]]) -> str:
    """What became of which lines; lines of which the same is said are one group, whatever else changed in them."""
    groups: dict[str, list[int]] = {}
    for change in line_changes:
        what = [str(change["status"])] if "status" in change else []
        what += [f"{change['claims']} claimable"] if "claims" in change else []
        if what:
            groups.setdefault(", ".join(what), []).extend(expand_numbers(change["numbers"]))
    texts = [f"{_lines(numbers)}: {what}" for what, numbers in list(groups.items())[:FIRST_LINES]]
    if (rest := len(groups) - FIRST_LINES) > 0:
        texts.append(f"and {count(rest, 'more group')} of lines")
    return "; ".join(texts)


def _lines(numbers: Sequence[int]) -> str:
    """The lines by their numbers, or how many they are where that is too long to be read."""
    text = condense_numbers(numbers)
    if len(text) > LONGEST_NUMBERS:
        return count(len(numbers), "line")
    return f"{'line' if text.isdigit() else 'lines'} {text}"


def describe_event(row: Mapping[Any, Any]) -> TimelineEntry:
    """Describe the event of a row of EVENTS in a sentence."""
    text = sentence(row["kind"], row["witness"], row["changes"], row["detail"])
    lines = _line_text(row["line_changes"])
    return TimelineEntry(
        at=row["happened_at"],
        until=row["happened_at"],
        **{name: row[name] for name in ("learned_at", "witness", "kind", "seq", "changes", "detail")},
        line_changes=row["line_changes"] or (),
        text=plain(f"{text} ({lines})" if lines else text),
        actor=row["detail"].get("actor") or row["changes"].get("actor"),
    )


# Where semicolons or tabs part the cells, a spreadsheet begins a new cell within one that commas parted.
_INNER_CELL = re.compile(r"(?<=[;\t\r\n])(?=[\s\"']*[=+@\-\uff1d\uff0b\uff20\uff0d])")


def spreadsheet_safe(value: Any) -> Any:
    """A text that no spreadsheet takes for a formula; anything else as it is."""
    if not isinstance(value, str):
        return value
    value = _INNER_CELL.sub("'", value)
    start = unicodedata.normalize("NFKC", value).lstrip(" \u00a0\u200b\ufeff\v\f\u0085\u2028\u2029")
    formula = start.startswith(("\t", "\r", "\n")) or start.strip().startswith(("=", "+", "-", "@"))
    return f"'{value}" if formula else value


# What a spreadsheet takes for a number, a date or a truth: zeros in front, too many digits, an exponent, marks between
# thousands, 3-24, 10:30, MAR1.
_MONTH = (
    "jan(?:uary?)?|feb(?:ruary?)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    "|nov(?:ember)?|dec(?:ember)?|jän(?:ner)?|mrz|märz|mai|juni|juli|okt(?:ober)?|dez(?:ember)?"
)
_MADE_A_NUMBER = re.compile(
    r"0[0-9]+|[0-9]{12,}|[0-9.]+E[+-]?[0-9]+|[0-9]+\.[0-9]*0|[0-9]{1,4}([-/.])[0-9]{1,2}(\1[0-9]{1,4})?"
    r"|[0-9]{1,3}(?:[,.' ][0-9]{3})+(?:[.,][0-9]+)?|[0-9]{1,4}(?::[0-9]{2}){1,2}|[$€£]?[0-9.,]+ ?[%$€£]?|\([0-9.,]+\)"
    rf"|[0-9]{{1,2}}[-/. ]?(?:{_MONTH})(?:[-/. ]?[0-9]{{2,4}})?|(?:{_MONTH})[-/. ]?[0-9]{{1,4}}"
    "|true|false|wahr|falsch|vrai|faux",
    re.IGNORECASE,
)
_DIGITS_THAT_STAY = re.compile("[1-9][0-9]{0,10}|0")


def spreadsheet_identifier(value: Any) -> Any:
    """An identifier that a spreadsheet leaves as it is, no formula and no number; anything but a text as it is."""
    if isinstance(value, str) and _MADE_A_NUMBER.fullmatch(value) and not _DIGITS_THAT_STAY.fullmatch(value):
        return f"'{value}"
    return spreadsheet_safe(value)
