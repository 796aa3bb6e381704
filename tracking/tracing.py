"""Tracing: hands each finished step of an order to whoever collects traces, in `app.telemetry.traces`; else to nobody.

Steps are recorded once they are over, by the PONumber of their order, so that nothing has to be passed on or stored for
them: what another process did for the same order is in the same trace.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

Attribute = str | int | bool
Kind = Literal["server", "client", "internal"]


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an order: a call that came in ("server") or went out ("client"), or the order as a whole.

    `whole` is the order itself, from when it was placed to its end, which all other steps are a part of. `error` says
    why the step failed. Attributes hold neither a person nor a secret.
    """

    name: str
    po_number: str
    started_at: datetime
    ended_at: datetime
    kind: Kind = "internal"
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    error: str | None = None
    whole: bool = False


class _Collecting:
    """Who collects, of this process."""

    collector: Callable[[Step], None] | None = None


def collect(collector: Callable[[Step], None] | None) -> None:
    """Have each step handed to this one from now on, which must not raise; None: to nobody."""
    _Collecting.collector = collector


def is_collected() -> bool:
    """Whether anybody collects, where a step costs something to find out."""
    return _Collecting.collector is not None


def record(step: Step) -> None:
    """Hand on a step that is over."""
    if _Collecting.collector is not None:
        _Collecting.collector(step)


def record_send(po_number: str, attempt: int, outcome: object, started_at: datetime, ended_at: datetime) -> None:
    """Hand on an attempt to place an order, `outcome` being what was observed of it."""
    if is_collected():
        about: dict[str, Attribute] = {"attempt": attempt, "outcome": type(outcome).__name__.lower()}
        error = getattr(outcome, "reason", None)
        record(Step("send", po_number, started_at, ended_at, "client", about, error))
