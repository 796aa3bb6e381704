"""Compares the provider's answers in an evidence file with its log: ID, PO number, state, cards, value. Pure.

None of them is part of the chain. What the log does not say as well, the manifest alone vouches for, and that was
written by whoever made the file: `UNPROVEN` says of which files.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from tracking.orders.echoes import is_echo
from tracking.orders.model import Order, State, same_id, usual_case
from tracking.orders.vocabulary import MIXED, AttentionReason, EventKind
from tracking.orders.wording import count, money
from tracking.reports.evidence.layout import CALLS, DOCUMENT, WEBHOOKS

_DIFFERENT_LINES = {AttentionReason.LINES_DIFFER, AttentionReason.LINES_DO_NOT_FIT}
_NUMBER = re.compile(r"\d{1,13}(\.\d{1,6})?", re.ASCII)
_MASKS = ("*", "…")
_AFTER_THE_END = "now shown as "
_ALONE = "is vouched for by the manifest alone"
_HELD = "ID, PO number, state and, once complete, value were held against the log"
UNPROVEN = (
    f"{CALLS}: of answers that the log has as well {_HELD}; the rest {_ALONE}",
    f"{DOCUMENT}: {_HELD}; the rest {_ALONE}",
    f"{WEBHOOKS}: {_ALONE}",
)
"""What of a file holds only as far as its manifest does, which whoever makes a file writes."""


def record_faults(order: Order, rows: Sequence[Sequence[Any]], files: Mapping[str, Sequence[Any]]) -> Iterator[str]:
    """Contradictions between answers and log; `rows` are the events, `files` the document and the calls."""
    for document in files.get(DOCUMENT, ()):
        for fault in _answer_faults(order, document, _states(order, rows)):
            yield f"{DOCUMENT}: {fault}"
        for fault in _value_faults(order, rows, document):
            yield f"{DOCUMENT}: {fault}"
    states_at = _states_by_time(rows)
    for number, call in enumerate(files.get(CALLS, ()), 1):
        for fault in _call_faults(order, rows, call, states_at):
            yield f"{CALLS}: line {number} {fault}"


def _call_faults(
    order: Order, rows: Sequence[Sequence[Any]], call: Any, states_at: Mapping[tuple[str, str], str]
) -> Iterator[str]:
    if not isinstance(call, Mapping):
        return
    if call["method"] == "POST" and (request := _body(call["request"])) is not None:
        yield from (f"asks for an order that {fault}" for fault in _number_faults(order, request))
    if (state := states_at.get((call["at"], call["method"]))) is not None and call["status"] in {200, 201}:
        answer = _body(call["answer"])
        yield from (f"shows what {fault}" for fault in _answer_faults(order, answer, {state}))
        if state == State.COMPLETED:
            yield from (f"shows what {fault}" for fault in _value_faults(order, rows, answer))


def _answer_faults(order: Order, answer: Any, states: set[str] | None) -> Iterator[str]:
    """Where an answer is another order's, or in a state that the log does not name; None for any state."""
    if not isinstance(answer, Mapping):
        return
    shows, has = _text(answer, "id"), order.provider_id
    if shows and has and not same_id(shows, has):
        yield f"is of provider ID {shows[:60]!r}, the events say {has!r}"
    yield from _number_faults(order, answer)
    status = _text(answer, "status")[:60]
    if status and states is not None and usual_case(status) not in set(map(usual_case, states)):
        yield f"says the state is {status!r}, the events say {' or '.join(sorted(states))!r}"


def _number_faults(order: Order, document: Mapping[str, Any]) -> Iterator[str]:
    number = _text(document, "ponumber")
    if number and not is_echo(number, order.po_number):
        yield f"is of PO number {number[:60]!r}, the events say {order.po_number!r}"


def _value_faults(order: Order, rows: Sequence[Sequence[Any]], answer: Any) -> Iterator[str]:
    """Where a complete order has other cards than the events say; its completion was proven by its lines."""
    lines = _fields(answer).get("lineitems") if isinstance(answer, Mapping) else None
    if order.state != State.COMPLETED or not isinstance(lines, list) or not lines or _differs(rows):
        return
    cards = [(_number(line, "quantity"), _number(line, "value")) for line in lines if isinstance(line, Mapping)]
    numbers = [(quantity, each) for quantity, each in cards if quantity is not None and each is not None]
    if len(numbers) < len(lines):
        return  # lines that are masked or cut
    units, value = sum(each for each, _ in numbers), sum(quantity * each * 100 for quantity, each in numbers)
    if (units, value) != (order.units, order.value_minor):
        if MIXED in (order.currency or ""):  # amounts of several currencies, which have no sum to be named
            yield f"holds {count(int(units), 'card')}, or amounts, that the events do not say"
            return
        log = f"{count(order.units, 'card')} worth {money(order.value_minor, order.currency)}"
        yield f"holds {count(int(units), 'card')} worth {money(int(value), order.currency)}, the events say {log}"


def _differs(rows: Sequence[Sequence[Any]]) -> bool:
    """Whether the log itself says that the provider's lines are not those that were ordered."""
    return any(row[8].get("differs") or row[6].get("attention_reason") in _DIFFERENT_LINES for row in rows)


def _states(order: Order, rows: Sequence[Sequence[Any]]) -> set[str] | None:
    """The provider's words for its state that the latest answer may have; None where the log does not have all."""
    if any(row[2] == EventKind.ANSWER_REPEATED for row in rows) or order.provider_status is None:
        return None
    # After its end another state changes nothing, and is in the log once, as a contradiction in words.
    words = [str(row[8].get("what", "")) for row in rows if row[2] == EventKind.CONTRADICTION]
    later = {text.partition(_AFTER_THE_END)[2] for text in words if _AFTER_THE_END in text}
    return {usual_case(order.provider_status), *later}


def _states_by_time(rows: Sequence[Sequence[Any]]) -> dict[tuple[str, str], str]:
    """The state that an answer showed, by when its call began and by its method."""
    methods = {"poll": "GET", "answer": "POST"}
    return {
        (row[4], methods[row[3]]): usual_case(row[8]["status"])
        for row in rows
        if row[3] in methods and isinstance(row[8].get("status"), str) and row[8].get("via", "order") == "order"
    }


def _body(text: Any) -> Mapping[str, Any] | None:
    """The JSON of a recorded body; None where it was cut, or is none."""
    try:
        body = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, Mapping) else None


def _fields(document: Mapping[str, Any]) -> dict[str, Any]:
    """The fields without regard to the case of their names, as the provider's answers are read."""
    return {str(name).casefold(): value for name, value in document.items()}


def _text(document: Mapping[str, Any], name: str) -> str:
    """The text or number of the field; "" where it is none, or was masked, so that it says nothing."""
    value = _fields(document).get(name)
    text = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return "" if any(mask in text for mask in _MASKS) else text


def _number(document: Mapping[str, Any], name: str) -> Decimal | None:
    value = _fields(document).get(name)
    text = str(value).strip() if isinstance(value, str | int | float) else ""
    return Decimal(text) if _NUMBER.fullmatch(text) else None
