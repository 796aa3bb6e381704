"""Observations: what can be seen of an order, and by whom, with times. `rules` says what each means. Pure.

A poll, a webhook, the provider's answer and a person all become an `Observation`, and nothing else changes an order.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from tracking.orders.model import Line, Snapshot, Witness
from tracking.values import value


def utc_now() -> datetime:
    """The time of an observation that is made now: aware and in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Requested:
    """Somebody asked for an order; the request is about to be committed.

    `values` are the minor units by currency of an order of several, whose `value_minor` is no amount of money.
    With `waits_as` a second person has to approve before anything leaves: it says why.
    """

    type: str
    source: str
    units: int
    value_minor: int
    lines: tuple[Line, ...]
    note: str | None = None
    currency: str | None = None
    values: Mapping[str, int] | None = None
    waits_as: str | None = None


@dataclass(frozen=True, slots=True)
class Attempted:
    """A POST of the order is about to be sent; `attempt` counts from 1."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Answered:
    """The provider took the order: a 201, or (`adopted`) the order a 409 named, fetched.

    `owner` is the PONumber of another order here that has the id already: then the answer is about that one.
    """

    snapshot: Snapshot
    adopted: bool = False
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class Declined:
    """The provider refused the order: 400, 413, 422, or a 409 that names an order we cannot take for ours."""

    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class Unclear:
    """Nobody can say whether the POST was carried out."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unsent:
    """The POST surely did not leave; it stays queued."""

    reason: str


@value(frozen=True, slots=True)
class Polled:
    """A GET showed the order (`via` order or list); `snapshot` is None when the bytes are those of the poll before."""

    snapshot: Snapshot | None
    via: str = "order"


@dataclass(frozen=True, slots=True)
class Missing:
    """A GET answered 404."""


@dataclass(frozen=True, slots=True)
class WebhookReported:
    """A webhook said FulfillmentComplete; `repeats` counts the times it had come before.

    Without `completes` it said something else, which is only a reason to poll.
    """

    provider_id: str | None
    repeats: int = 0
    completes: bool = True


@dataclass(frozen=True, slots=True)
class Asked:
    """A person asked to poll the order ("check"), to send it again ("resend"), or to place it under another PONumber.

    That is "place anew" for the old order, "placed anew" for the new one; `other` is the PONumber of the other.
    """

    what: str
    other: str | None = None


@dataclass(frozen=True, slots=True)
class Noted:
    """A person wrote a note; with `acknowledges` the order needs no decision any more."""

    text: str
    acknowledges: bool = False


@dataclass(frozen=True, slots=True)
class ClaimRevealed:
    """A person was shown the claim data of one unit; `version` is set where there are several."""

    line: int
    unit: int
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Erased:
    """A person erased the recipient of these lines."""

    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Assigned:
    """A person assigned the order to somebody, or with None to nobody."""

    assignee: str | None


@dataclass(frozen=True, slots=True)
class Snoozed:
    """A person lets the order wait until a time, or until something changes where `until` is None."""

    until: datetime | None
    why: str | None = None


@dataclass(frozen=True, slots=True)
class SnoozeEnded:
    """A person ended the order's snooze."""


@dataclass(frozen=True, slots=True)
class Reopened:
    """A person takes an acknowledgement back: the order needs a decision again."""

    why: str | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """A second person approved an order that waits for it, or declined it."""

    approved: bool
    why: str | None = None


OfSubmission = Requested | Attempted | Answered | Declined | Unclear | Unsent
Worked = Assigned | Snoozed | SnoozeEnded | Reopened | Judged
Observed = OfSubmission | Polled | Missing | WebhookReported | Asked | Noted | ClaimRevealed | Erased | Worked


@value(frozen=True, slots=True)
class Observation:
    """Something seen: by whom, when it happened, when it reached us; `job` is the job on many orders it was part of."""

    witness: Witness
    happened_at: datetime
    learned_at: datetime
    observed: Observed
    actor: str | None = None
    job: int | None = None
