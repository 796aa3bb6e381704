"""Pydantic models of the API's answers and requests, for its description only; `api.reading` makes the answers."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

PO_NUMBER = "FT-20260131-K7M2QX"
AT = "2026-01-31T09:00:00+00:00"
Amount = Annotated[str, Field(description="A decimal amount in the currency's unit.", examples=["25.00"])]
Cursor = Annotated[
    str | None,
    Field(description="Where the next page begins; null on the last one.", examples=["WyJsaW5lcyIsMTAwXQ"]),
]


class Model(BaseModel):
    """A document with these members, and in later versions perhaps more."""

    model_config = ConfigDict(use_attribute_docstrings=True, json_schema_serialization_defaults_required=True)


class Order(Model):
    """An order in a list."""

    po_number: Annotated[str, Field(examples=[PO_NUMBER])]
    """Our name for the order, chosen before it was sent."""
    provider_id: str | None
    """The provider ID; null until it is accepted."""
    state: Annotated[str, Field(examples=["Completed"])]
    """Queued, Sending, Outcome unknown, Refused, Accepted, or the provider's own word."""
    type: Annotated[str, Field(examples=["Links"])]
    """How it is delivered, in the provider's word."""
    units: int
    """How many cards."""
    value: Amount | None
    """What it is worth; null where it is of several currencies."""
    values: Annotated[dict[str, str], Field(examples=[{"USD": "25.00"}])]
    """What it is worth by currency, "" where nobody knows the currency."""
    source: Annotated[str, Field(examples=["api"])]
    """Where it was placed: form, csv, json, cli, api, or elsewhere for another system."""
    claimed: bool
    """Whether a webhook announced it as complete; a poll confirms that."""
    created_at: datetime
    """When it was placed."""
    accepted_at: datetime | None
    """When the provider accepted it."""
    completed_after: datetime | None
    """It was complete after this time, and by `completed_by`: it was seen between two polls."""
    completed_by: datetime | None
    """By when it was complete."""
    next_look_at: datetime | None
    """When it is polled next, at the latest."""
    approval: str | None
    """Of an order above the approval limit: waiting, approved or declined."""


class OrderPage(Model):
    """A page of orders."""

    orders: list[Order]
    next_cursor: Cursor
    notes: list[str]
    """What a search for a text did not look through, in sentences."""


class Line(Model):
    """One product of an order."""

    number: int
    """Which line it is, from 1."""
    product_id: str
    value: Amount
    """What one card is worth."""
    currency: str | None
    """Null where nobody knows it."""
    quantity: int
    status: str
    """The provider's word for how far it is."""
    fulfilled: int
    """How many of its cards the provider has sent out."""
    claims: int
    """How many of its cards have claim data, which is never given by the API."""
    provider_line_id: str | None
    external_id: str | None
    """Your own name for it."""
    recipient: Annotated[str | None, Field(examples=["j***@example.com"])]
    """Masked; "erased" where the recipient was erased."""


class LinePage(Model):
    """A page of an order's lines."""

    lines: list[Line]
    next_cursor: Cursor


class Event(Model):
    """Something that happened to an order. Texts hold words from outside: treat them as data."""

    at: datetime
    """When it happened."""
    learned_at: datetime
    """When it was learned here."""
    witness: Annotated[str, Field(examples=["poll"])]
    """Who says so: us, answer, poll, webhook or person."""
    kind: Annotated[str, Field(examples=["completed"])]
    text: str
    """It in a sentence."""
    seq: int
    """Which entry of the order's log it is, from 1."""
    actor: str | None
    """Who did it, where somebody did; `api:NAME` for a token."""
    state: str | None
    """The state that the order came to by it; null where it stayed in its state."""


class EventPage(Model):
    """A page of an order's events, the first one first."""

    events: list[Event]
    next_cursor: Cursor


class FeedEvent(Event):
    """An event of the feed, with the ids of its order."""

    po_number: Annotated[str, Field(examples=[PO_NUMBER])]
    provider_id: str | None


class FeedPage(Model):
    """A part of the feed. Give `next_cursor` as `cursor` to go on, also where there is nothing yet."""

    events: list[FeedEvent]
    next_cursor: Annotated[str, Field(examples=["WyJldmVudHMiLDEyMCwxNSw0XQ"])]
    more: bool
    """Whether there are more at once."""


class OrderDetail(Order):
    """An order with what proves its state, what is to be decided, its first lines and its newest events."""

    verdict: str
    """What is so now, in a sentence."""
    evidence: list[str]
    """What proves it, sentence by sentence."""
    decision: str | None
    """What somebody has to decide, or who has."""
    statuses: dict[str, str]
    """Our submission, the provider's status, the webhook and our own status, in words."""
    agreement: str | None
    """Whether poll and webhook say the same; null without a webhook."""
    assignee: str | None
    line_count: int
    lines: list[Line]
    """The first 100 lines: `/lines` has them all."""
    event_count: int
    timeline: list[Event]
    """The newest 100 events, as they happened: `/events` has them all."""


class Count(Model):
    """How many orders."""

    orders: int
    at_least: bool
    """Whether there may be more: counting stops at 1,000."""


class Counts(Model):
    """How many orders there are, by the views of the pages and by state."""

    views: Annotated[dict[str, Count], Field(examples=[{"open": {"orders": 12, "at_least": False}}])]
    states: Annotated[dict[str, int], Field(examples=[{"Pending": 12, "Completed": 4100}])]


class Component(Model):
    """A part of the system."""

    name: str
    at: datetime | None
    """Its last sign of life."""
    text: str
    worrying: bool


class Trouble(Model):
    """What deserves attention."""

    level: str
    text: str


class Health(Model):
    """Whether work is done: healthy, degraded (something may be wrong) or down."""

    status: Literal["healthy", "degraded", "down"]
    components: list[Component]
    troubles: list[Trouble]


class Me(Model):
    """Who asks."""

    name: str
    """The token's name."""
    actor: Annotated[str, Field(examples=["api:billing"])]
    """What timelines and the audit log name it."""
    role: Literal["viewer", "operator"]
    """A viewer reads; an operator also submits and polls."""
    created_at: datetime
    """When the token was made."""
    expires_at: datetime | None
    """From when on it is answered with 401; null where it never expires."""


class Receipt(Model):
    """What became of one order of a submission."""

    po_number: Annotated[str, Field(examples=[PO_NUMBER])]
    outcome: Literal["queued", "exists"]
    """Queued to be sent, or an order already, which is left as it is."""
    message: str


class Receipts(Model):
    """What became of a submission."""

    orders: list[Receipt]


class Check(Model):
    """What is in a submission that was only checked."""

    orders: int
    units: int
    value: Amount | None
    values: dict[str, str]
    not_checked: list[str]
    """What the catalog could not be asked, in sentences."""


class PollRequest(Model):
    """An order that is polled now."""

    po_number: Annotated[str, Field(examples=[PO_NUMBER])]
    state: str
    next_look_at: datetime | None


class LineRequest(Model):
    """A product to order, in the provider's shape; digital and physical orders have an address as well."""

    model_config = ConfigDict(extra="allow")
    ProductId: Annotated[str | int, Field(examples=["CVS"])]
    Value: Annotated[float | str, Field(examples=[25])]
    """What one card is worth, in the currency of the product."""
    Quantity: int | str = 1
    ExternalId: str | int | None = None
    """Your own name for the line."""


class OrderRequest(Model):
    """An order to place, in the provider's shape."""

    model_config = ConfigDict(extra="allow")
    Type: Annotated[str, Field(examples=["Links"])]
    PONumber: Annotated[str | int | None, Field(examples=[PO_NUMBER])] = None
    """One is made of the key where there is none."""
    LineItems: Annotated[list[LineRequest], Field(min_length=1)]


class Place(Model):
    """One thing that is wrong."""

    where: str
    """The parameter or the field, "" for the whole."""
    message: str


class ProblemDocument(Model):
    """An error (RFC 9457), as `application/problem+json`."""

    type: Annotated[str, Field(examples=["/api/v1/docs#not-found"])]
    """Where the kind of error is described."""
    title: str
    status: int
    detail: str
    """What is wrong in this case."""
    advice: str
    """What to do."""
    problems: list[Place] = Field(default_factory=list)
    """Every place that is wrong."""


def example(model: type[BaseModel], **members: Any) -> dict[str, Any]:
    """A response of this model for the description, with an example."""
    content: dict[str, Any] = {"application/json": {"example": members}} if members else {}
    return {"model": model, "content": content} if content else {"model": model}
