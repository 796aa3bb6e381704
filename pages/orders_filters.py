"""The filter of the list of orders, in the address: views, a popover, and chips that remove a part of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any

import streamlit as st

import actors
import address
import cached
import elements
import times
from tracking.errors import TooSlow
from tracking.orders import wording
from tracking.orders.model import OrderType
from tracking.orders.vocabulary import reason_label, state_label
from tracking.reports.explanations import TYPES
from tracking.reports.order_list.filters import REASONS, SORTS, VIEW_LABELS, VIEWS, Filters
from tracking.reports.trends import STATES

SEEN_IF_ANY = {"approval"}  # views that most teams never need
VIEW_MEANINGS = {
    "all": "All orders, whoever placed them.",
    "attention": "Refused, cancelled, contradictory or an unknown status, not yet acknowledged and not snoozed.",
    "unassigned": "Needs a decision, and nobody has it.",
    "mine": "Assigned to you, not snoozed, and open or in need of a decision.",
    "approval": "Above the limit: nothing is sent before a second operator approved it.",
    "late": "Open for longer than 99 of 100 similar orders took, or than promised, and not snoozed.",
    "unknown": "We sent it and got no answer; the provider may or may not have it.",
    "claimed": "A webhook says complete; no poll has confirmed it yet.",
    "open": "Not completed, cancelled or refused.",
    "snoozed": "Waits until a time, or until something changes; counted nowhere as needing somebody.",
    "today": "Detected since midnight UTC.",
    "found": "Already complete when first seen, today.",
}
SORT_LABELS = {name: name.capitalize() for name in SORTS} | {"po number": "PO number", "next look": "Next poll"}
TYPE_LABELS = {kind: words.capitalize() for kind, words in TYPES.items()}
SOURCE_LABELS = {
    "form": "Form", "csv": "CSV", "json": "JSON", "api": "API", "seed": "Demo data", "elsewhere": "Other system",
}  # fmt: skip
PARAMETERS = frozenset(each.metadata["name"] for each in fields(Filters))
EARLIEST, LATEST = datetime(1970, 1, 1), datetime(2200, 1, 1)  # noqa: DTZ001 - as widgets have them, in no zone
ANY_CURRENCY = "The number alone, whatever the currency."


@dataclass(frozen=True, slots=True)
class Chip:
    """One part of the filter as people read it; `value` is the one of several that it stands for."""

    parameter: str
    label: str
    value: str | None = None


def read_filters() -> tuple[Filters, list[str]]:
    """The filter in the address, and what of it could not be used; the view "mine" is that of whoever reads it."""
    filters, problems = Filters.from_query({name: st.query_params.get_all(name) for name in st.query_params})
    if filters.view == "mine":
        filters = replace(filters, assigned=actors.name())
    return filters, [str(problem) for problem in problems]


def set_parameters(**changed: str | list[str]) -> None:
    """Change parts of the filter in the address; whatever is filtered otherwise begins at its first page."""
    address.change(({"page": ""} if changed.keys() != {"page"} else {}) | changed)


def clear() -> None:
    """Back to all orders, sorted as they are."""
    st.query_params.from_dict({name: st.query_params[name] for name in ("sort", "asc") if name in st.query_params})


def bind(name: str, current: Any) -> dict[str, Any]:
    """Key and callback of the widget for this part of the filter; shows what the address says.

    `persist_state`: also where the browser shows the widget anew, as a run was cut short.
    """
    key = f"filter_{name}"
    if key not in st.session_state or st.session_state[key] != current:
        st.session_state[key] = current  # only then: what is half typed would be lost
    return {"key": key, "on_change": _take_over, "args": (name,), "persist_state": "page"}


def _take_over(name: str) -> None:
    value = st.session_state[f"filter_{name}"]
    if isinstance(value, datetime):
        value = value.replace(tzinfo=times.zone()).astimezone(UTC).isoformat()
    elif isinstance(value, bool):
        value = "true" if value else ""
    set_parameters(**{name: value if isinstance(value, list) else str(value or "")})


def _text_of(name: str) -> str:
    return st.query_params.get(name, "")


# Widgets


def views(filters: Filters) -> None:
    """The views as one control, each with the number of its orders; swiped where the window is narrower."""
    try:
        counts = cached.view_counts(actors.name())
    except TooSlow:  # what each view holds is only said beside its name
        counts = {}

    def label(view: str) -> str:
        return f"{VIEW_LABELS[view]} {counts[view]}" if view in counts else VIEW_LABELS[view]

    bound = bind("view", filters.view) | {"on_change": _show_view, "args": ()}
    shown = [
        view
        for view in VIEWS
        if view not in SEEN_IF_ANY or view == filters.view or view not in counts or counts[view].orders
    ]
    st.segmented_control(
        "View", shown, format_func=label, required=True, label_visibility="collapsed", wrap=False, **bound
    )


def _show_view() -> None:
    """Show the chosen view; of what is late all that its count counts, also what is late together."""
    view = st.session_state["filter_view"]
    name = "" if "mine" in (view, st.query_params.get("view")) else _text_of("assigned")  # its name goes with it
    set_parameters(view="" if view == "all" else view, each="true" if view == "late" else "", assigned=name)


def sorting(filters: Filters) -> None:
    """What the whole list is sorted by, and which way."""
    options = list(SORTS)
    st.selectbox(
        "Sort by", options, format_func=lambda name: f"Sort: {SORT_LABELS[name]}", label_visibility="collapsed",
        width=160, **bind("sort", filters.sort),
    )  # fmt: skip
    label, icon = ("Descending", "south") if filters.descending else ("Ascending", "north")
    st.button(
        label, key="direction", icon=f":material/{icon}:", on_click=set_parameters, help="Reverse the sort order",
        kwargs={"asc": "true" if filters.descending else ""},
    )  # fmt: skip


def pages(number: int, current: int) -> None:
    """The pages of the list."""
    turn = st.session_state.get("pages_turn", 0)
    if st.session_state.get(f"page_{turn}", current) != current:  # the browser went back; a value cannot be set
        turn = st.session_state["pages_turn"] = turn + 1
    st.pagination(number, default=current, key=f"page_{turn}", on_change=_turn_page, args=(f"page_{turn}",))


def _turn_page(key: str) -> None:
    page = st.session_state[key]
    set_parameters(page=str(page) if page > 1 else "")


def popover(filters: Filters) -> None:
    """All filters, behind one button that says how many are set."""
    active = len(chips(filters))
    with st.popover(f"Filters ({active})" if active else "Filters", icon=":material/filter_list:", key="filters"):
        st.text_input("Text in any ID or recipient", max_chars=200, **bind("q", _text_of("q")))
        states, people = _choices_read()
        with st.grid(2):
            _choices(filters, states, people)
            _bounds(filters)


def _choices_read() -> tuple[list[str], list[str]]:
    """The states that occur and the people who act. Where they take too long to read, the list stays usable."""
    try:
        return cached.filter_options()["states"], cached.people()
    except TooSlow:
        st.caption(
            ":material/hourglass_disabled: States of the provider's own and people could not be read in time: only the "
            "usual states are offered. Narrow the list meanwhile by a text, a time, or the beginning of a PO number."
        )
        return [state.value for state in STATES], []


def _choices(filters: Filters, states: list[str], people: list[str]) -> None:
    kinds, sources = [str(kind) for kind in OrderType], list(SOURCE_LABELS)
    _several("State", "state", states, filters.states, state_label)
    _several("State is not", "not_state", states, filters.not_states, state_label)
    _several("Type", "type", kinds, filters.types, type_label)
    _several("Type is not", "not_type", kinds, filters.not_types, type_label)
    _several("Needs a decision because", "reason", REASONS, filters.reasons, reason_label)
    _several("Not because", "not_reason", REASONS, filters.not_reasons, reason_label)
    st.selectbox(
        "Source", _with(["", *sources], [filters.source]), **bind("source", filters.source),
        format_func=lambda source: source_label(source) if source else "Any",
    )  # fmt: skip
    st.selectbox(
        "Assigned to", _with(["", *people], [filters.assigned]), format_func=lambda name: name or "Anybody",
        **bind("assigned", filters.assigned),
    )  # fmt: skip
    _several("Source is not", "not_source", sources, filters.not_sources, source_label)


def _several(label: str, name: str, options: Iterable[str], chosen: Sequence[str], wording_of: Any) -> None:
    st.multiselect(
        label, _with(options, chosen), format_func=lambda word: wording.plain(wording_of(word)), placeholder="Any",
        **bind(name, list(chosen)),
    )  # fmt: skip


def _with(options: Iterable[str], chosen: Iterable[str]) -> list[str]:
    """The options, and what is chosen besides, which an address may name."""
    return list(dict.fromkeys([*options, *chosen]))


def _bounds(filters: Filters) -> None:
    zone = times.zone_name()
    for label, name, at in (("Placed from", "from", filters.created_from), ("Placed before", "to", filters.created_to)):
        st.datetime_input(
            f"{label} ({zone})", value=None, step=60, min_value=EARLIEST, max_value=LATEST, format="YYYY-MM-DD",
            **bind(name, _for_widget(at)),
        )  # fmt: skip
    for label, name, example, help_text in (
        ("Value from", "min", "10.00", ANY_CURRENCY),
        ("Value up to", "max", "500.00", ANY_CURRENCY),
        ("Age at least", "older", "30m, 1h, 2d", None),
        ("PO number prefix", "prefix", "FT-", None),
        ("Product ID", "product", "CVS", None),
        ("Import", "import", "5", "Its number, as its page says it."),
    ):
        st.text_input(label, placeholder=example, help=help_text, **bind(name, _text_of(name)))


def _for_widget(at: datetime | None) -> datetime | None:
    """A moment on the clock of whoever reads; None where a widget cannot show it."""
    if at is None or not EARLIEST.year < at.year < LATEST.year:
        return None
    return at.astimezone(times.zone()).replace(tzinfo=None, second=0, microsecond=0)


def switches(filters: Filters) -> None:
    """What only some lists ask for."""
    if filters.view == "late":
        st.toggle("Include orders late as part of an incident", **bind("each", filters.each))


# Chips


def show_chips(filters: Filters) -> None:
    """The filters that are set, each as a button that takes it away."""
    for number, chip in enumerate(chips(filters)):
        st.button(
            elements.escape(chip.label), key=f"chip_{number}", icon=":material/close:", icon_position="right",
            help="Remove this filter", on_click=_remove, args=(chip,),
        )  # fmt: skip


def _remove(chip: Chip) -> None:
    values = st.query_params.get_all(chip.parameter)
    set_parameters(**{chip.parameter: [value for value in values if chip.value not in (None, value)]})


def chips(filters: Filters) -> list[Chip]:
    """The parts of the filter in words; the view, the sorting and the page have controls of their own."""
    several = (
        ("state", "State: {}", filters.states, state_label),
        ("not_state", "State is not {}", filters.not_states, state_label),
        ("type", "Type: {}", filters.types, type_label),
        ("not_type", "Type is not {}", filters.not_types, type_label),
        ("reason", "Reason: {}", filters.reasons, reason_label),
        ("not_reason", "Reason is not {}", filters.not_reasons, reason_label),
        ("not_source", "Source is not {}", filters.not_sources, source_label),
    )
    shown = [Chip("q", f'Contains "{filters.text}"')] if filters.text else []
    shown += [Chip(name, text.format(word(value)), value) for name, text, values, word in several for value in values]
    return shown + [Chip(name, text) for name, text in _single(filters) if text]


def _single(filters: Filters) -> Iterable[tuple[str, str]]:
    """The parts of the filter that have one value, in words; empty where they are not set."""
    yield "po", f"{wording.count(len(filters.only), 'order')} selected" if filters.only else ""
    yield "assigned", f"Assigned to {filters.assigned}" if filters.assigned and filters.view != "mine" else ""
    yield "job", "" if filters.job is None else f"Job {filters.job}"
    yield "import", f"Import {filters.imported}" if filters.imported else ""
    yield "source", f"Source: {source_label(filters.source)}" if filters.source else ""
    yield "product", f"Product: {filters.product}" if filters.product else ""
    yield "from", f"Placed from {wording.clock(filters.created_from)}" if filters.created_from else ""
    yield "to", f"Placed before {wording.clock(filters.created_to)}" if filters.created_to else ""
    yield "done_from", f"Completed from {wording.clock(filters.completed_from)}" if filters.completed_from else ""
    yield "done_to", f"Completed before {wording.clock(filters.completed_to)}" if filters.completed_to else ""
    yield "ended_from", f"Ended from {wording.clock(filters.ended_from)}" if filters.ended_from else ""
    yield "watched", "Not those over when first seen" if filters.watched else ""
    yield "min", "" if filters.min_minor is None else f"Value from {wording.amount(filters.min_minor)}"
    yield "max", "" if filters.max_minor is None else f"Value up to {wording.amount(filters.max_minor)}"
    yield "older", "" if filters.older_than is None else f"Age at least {wording.duration(filters.older_than)}"
    yield "prefix", f"PO number begins with {filters.po_prefix}" if filters.po_prefix else ""


def type_label(kind: str) -> str:
    """The delivery type in words; one that nobody knows as the provider writes it."""
    return TYPE_LABELS.get(kind, kind)


def source_label(source: str) -> str:
    """Where an order came from, in words."""
    return SOURCE_LABELS.get(source, source)
