"""The filter of a list of orders, and its form in an address. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, time, timedelta
from typing import Any

from tracking.errors import Problem
from tracking.orders.model import OrderType, State, usual_case
from tracking.orders.vocabulary import AttentionReason, state_of_label
from tracking.orders.wording import amount, source_of
from tracking.reports.order_list.query_params import Reader

PAGE_SIZE = 25
REASONS = tuple(AttentionReason)
VIEWS = (
    "all", "attention", "unassigned", "mine", "approval", "late", "unknown", "claimed", "open", "snoozed", "today",
    "found",
)  # fmt: skip
VIEW_LABELS = {
    "all": "All",
    "attention": "Needs decision",
    "unassigned": "Unassigned",
    "mine": "Mine",
    "approval": "Waits for approval",
    "late": "Late",
    "unknown": "Unconfirmed send",
    "claimed": "Webhook only",
    "open": "Open",
    "snoozed": "Snoozed",
    "today": "Completed today",
    "found": "Already complete",
}
SORTS = {
    "placed": "created_at",
    "po number": "po_number",
    "state": "state",
    "type": "type",
    "cards": "units",
    "value": "value_minor",
    "completed": "completed_by",
    "next look": "next_look_at",
}


def _set_by(name: str, read: Callable[[Reader, str], Any]) -> dict[str, Any]:
    """The query parameter that sets a field of the filter."""
    return {"name": name, "read": read}


def _sort(reader: Reader, name: str) -> str:
    """What to sort by. The poll that comes next has an older word in addresses, which stays; messages use its name."""
    words, text = {word.replace("look", "poll"): word for word in SORTS}, reader.text(name)
    return text if text in SORTS else words[reader.one_of(name, tuple(words), "placed")]


def _states(reader: Reader, name: str) -> tuple[str, ...]:
    """States in whatever case, or as people read them; a word of the provider's that nobody knows as it is."""
    return tuple(usual_case(state_of_label(word), State) for word in reader.many(name))


def _types(reader: Reader, name: str) -> tuple[str, ...]:
    return tuple(usual_case(word, OrderType) for word in reader.many(name))


@dataclass(frozen=True, slots=True)
class Filters:
    """What to show, in which order, which page. Values in minor units; a time that ends in `_to` is not included.

    `reasons`: for which the order needs a decision. `not_...`: what is left out. `only`: these PONumbers.
    `imported`: which import placed it.
    `each`: late orders that are late together are listed too, where one sentence would tell them all. `watched`: what
    was over already when it was first seen is left out. `assigned`: to whom; the view "mine" is theirs. `job`: what an
    act on many orders was for.
    """

    text: str = field(default="", metadata=_set_by("q", Reader.text))
    view: str = field(default="all", metadata=_set_by("view", lambda reader, name: reader.one_of(name, VIEWS, "all")))
    states: tuple[str, ...] = field(default=(), metadata=_set_by("state", _states))
    not_states: tuple[str, ...] = field(default=(), metadata=_set_by("not_state", _states))
    types: tuple[str, ...] = field(default=(), metadata=_set_by("type", _types))
    not_types: tuple[str, ...] = field(default=(), metadata=_set_by("not_type", _types))
    reasons: tuple[str, ...] = field(
        default=(), metadata=_set_by("reason", lambda reader, name: reader.each_of(name, REASONS))
    )
    not_reasons: tuple[str, ...] = field(
        default=(), metadata=_set_by("not_reason", lambda reader, name: reader.each_of(name, REASONS))
    )
    source: str = field(default="", metadata=_set_by("source", lambda reader, name: source_of(reader.text(name))))
    not_sources: tuple[str, ...] = field(
        default=(), metadata=_set_by("not_source", lambda reader, name: tuple(map(source_of, reader.many(name))))
    )
    product: str = field(default="", metadata=_set_by("product", Reader.text))
    created_from: datetime | None = field(default=None, metadata=_set_by("from", Reader.time))
    created_to: datetime | None = field(default=None, metadata=_set_by("to", Reader.time))
    completed_from: datetime | None = field(default=None, metadata=_set_by("done_from", Reader.time))
    completed_to: datetime | None = field(default=None, metadata=_set_by("done_to", Reader.time))
    ended_from: datetime | None = field(default=None, metadata=_set_by("ended_from", Reader.time))
    min_minor: int | None = field(default=None, metadata=_set_by("min", Reader.money))
    max_minor: int | None = field(default=None, metadata=_set_by("max", Reader.money))
    older_than: timedelta | None = field(default=None, metadata=_set_by("older", Reader.length))
    po_prefix: str = field(default="", metadata=_set_by("prefix", Reader.text))
    assigned: str = field(default="", metadata=_set_by("assigned", Reader.text))
    job: int | None = field(
        default=None, metadata=_set_by("job", lambda reader, name: reader.number(name, None, 1, 999_999_999))
    )
    only: tuple[str, ...] = field(default=(), metadata=_set_by("po", Reader.many))
    imported: int | None = field(
        default=None, metadata=_set_by("import", lambda reader, name: reader.number(name, 0, 1, 999_999_999) or None)
    )
    each: bool = field(default=False, metadata=_set_by("each", Reader.yes))
    watched: bool = field(default=False, metadata=_set_by("watched", Reader.yes))
    sort: str = field(default="placed", metadata=_set_by("sort", _sort))
    descending: bool = field(default=True, metadata=_set_by("asc", lambda reader, name: not reader.yes(name)))
    page: int = field(default=1, metadata=_set_by("page", lambda reader, name: reader.number(name, 1, 1, 1_000_000)))
    page_size: int = field(
        default=PAGE_SIZE, metadata=_set_by("size", lambda reader, name: reader.number(name, PAGE_SIZE, 1, 500))
    )

    def to_query(self) -> dict[str, Any]:
        """The filter as query parameters, without what is as usual."""
        changed = [each for each in fields(self) if getattr(self, each.name) != each.default]
        return {each.metadata["name"]: _as_parameter(each.name, getattr(self, each.name)) for each in changed}

    @property
    def is_view_alone(self) -> bool:
        """Whether nothing but the view says which orders match."""
        plain = replace(self, view="all", sort="placed", descending=True, page=1, page_size=PAGE_SIZE)
        return plain == Filters()

    @classmethod
    def from_query(cls, query: Mapping[str, Any]) -> tuple[Filters, list[Problem]]:
        """The filter in an address, and the parts of the address that cannot be used."""
        reader = Reader(query)
        filters = cls(**{each.name: each.metadata["read"](reader, each.metadata["name"]) for each in fields(cls)})
        return filters, reader.problems


def _as_parameter(name: str, value: Any) -> str | list[str]:
    """A value that is not the usual one, as the query parameter that `Reader` reads back."""
    match value:
        case bool():
            return "true"
        case tuple():
            return list(value)
        case datetime():
            return value.date().isoformat() if value.time() == time() else value.isoformat()
        case timedelta():
            return f"{int(value.total_seconds())}s"
        case _:
            return amount(value) if name.endswith("_minor") else str(value)
