"""Options of commands that work on the orders of a filter: `--view`, `--state`, `--assigned` and the others."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from tracking.app.cli import options, output
from tracking.orders.model import State, usual_case
from tracking.orders.vocabulary import state_label, state_of_label
from tracking.provider.json_fields import storable
from tracking.reports.order_list.filters import Filters
from tracking.submissions import catalog

# Each option's field of the filter, its type, and its default.
OPTIONS: dict[str, tuple[str, Any, Any]] = {
    "view": ("view", options.ViewOption, "all"),
    "state": ("states", options.StateOption, None),
    "not_state": ("not_states", options.NotStateOption, None),
    "reason": ("reasons", options.ReasonOption, None),
    "older_than": ("older_than", options.OlderOption, None),
    "text": (
        "text",
        Annotated[
            str,
            typer.Option(
                "--text",
                parser=storable,
                metavar="TEXT",
                help="Only orders with TEXT in an ID, product, recipient or note.",
            ),
        ],
        "",
    ),
    "po_prefix": ("po_prefix", options.PrefixOption, ""),
    "assigned": (
        "assigned",
        Annotated[
            str, typer.Option("--assigned", parser=storable, metavar="NAME", help="Only orders assigned to NAME.")
        ],
        "",
    ),
    "po": (
        "only",
        Annotated[
            list[str] | None,
            typer.Option("--po", parser=storable, metavar="PO", help="Only the order with this PO number; repeatable."),
        ],
        None,
    ),
    "job": ("job", Annotated[int | None, typer.Option("--job", min=1, help="Only the orders of this job.")], None),
    "imported": (
        "imported",
        Annotated[int | None, typer.Option("--import", min=1, help="Only the orders that this import placed.")],
        None,
    ),
}


def takes_filters(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a filter, in place of its parameter `filters`."""

    @functools.wraps(command)
    def with_options(**values: Any) -> None:
        chosen = {field: _value(name, values.pop(name)) for name, (field, _, _) in OPTIONS.items()}
        if chosen["view"] == "mine" and not chosen["assigned"]:
            raise typer.BadParameter("the view mine needs --assigned, with the name whose orders are meant")
        command(**values, filters=Filters(**chosen))

    own = inspect.signature(command)
    parameters = [each for each in own.parameters.values() if each.name != "filters"]
    parameters += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (_, annotation, default) in OPTIONS.items()
    ]
    with_options.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]  # what typer reads
    with_options.__annotations__ = {each.name: each.annotation for each in parameters}
    return with_options


def _value(name: str, value: Any) -> Any:
    if name in {"state", "not_state"}:
        return _list_states(value)
    return tuple(value or ()) if name in {"reason", "po"} else value


def _list_states(states: Sequence[str] | None) -> tuple[str, ...]:
    """Read states, or what people read of them; one that nobody knows may be the provider's, and that is said."""
    words = tuple(usual_case(state_of_label(word), State) for word in states or ())
    for word in (word for word in words if word not in set(State)):
        hint = catalog.did_you_mean(word, State)
        output.print_stderr(
            f"{word[:60]!r} is not a known state{hint or '.'} Known states: {', '.join(map(state_label, State))}"
        )
    return words
