"""Query parameters of the API as pydantic models; an unknown one is refused, as it may be misspelt.

A filter is read from the address by `reports.order_list.filters`, as the list's own page reads it.
"""

from typing import Annotated, Literal

from fastapi import Header
from pydantic import BaseModel, ConfigDict, Field

from tracking.api.cursors import LONGEST
from tracking.api.feed import LONGEST_WAIT
from tracking.api.reading import LARGEST_PAGE, USUAL_PAGE
from tracking.orders.vocabulary import AttentionReason, EventKind

Cursor = Annotated[str | None, Field(description="`next_cursor` of the page before.", max_length=LONGEST)]
Limit = Annotated[int, Field(description="How many at most.", ge=1, le=LARGEST_PAGE)]
Text = Annotated[str, Field(max_length=200)]
Time = Annotated[str, Field(examples=["2026-01-31T09:00:00Z", "2026-01-31"], max_length=40)]
Amount = Annotated[str, Field(pattern=r"^[0-9]{1,9}(\.[0-9]{1,2})?$", examples=["12.50"])]
Number = Annotated[int, Field(ge=1, le=999_999_999)]
Switch = Literal["true", "false"]
View = Literal[
    "all", "attention", "unassigned", "mine", "approval", "late", "unknown", "claimed", "open", "snoozed", "today",
    "found",
]  # fmt: skip
Sort = Literal["placed", "po number", "state", "type", "cards", "value", "completed", "next poll"]


class _Query(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class PageQuery(_Query):
    """Which page of a list."""

    cursor: Cursor = None
    limit: Limit = USUAL_PAGE


Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="A text that this request alone has, such as a UUID. Needed unless `dry_run` is true.",
        examples=["5c0f0a1e-7d0b-4a86-9f53-0f1f4f3b6a11"],
        min_length=1,
        max_length=200,
        pattern=r"^[\x21-\x7e]+$",
    ),
]


class SubmitQuery(_Query):
    """How orders are submitted."""

    dry_run: Switch = "false"
    """Check the orders alone, and store nothing."""


class FeedQuery(PageQuery):
    """Which events of the feed."""

    since: Time | None = None
    """Without a cursor: begin with what was learned from then on; without either, with the oldest event there is."""
    kind: list[EventKind] = Field(default_factory=list)
    """Only events of these kinds."""
    wait: Annotated[int, Field(ge=0, le=LONGEST_WAIT)] = 0
    """Where there is none yet, wait so many seconds for the next one."""


class OrdersQuery(PageQuery):
    """Which orders, in which order."""

    q: Text = ""
    """Words that are all in the order: parts of ids, products, recipients, notes. The audit log has its hash."""
    view: View = "all"
    """A view of the pages; `mine` is what is assigned to the token."""
    state: list[Text] = Field(default_factory=list, examples=[["Pending"]])
    """In one of these states."""
    not_state: list[Text] = Field(default_factory=list)
    """In none of these."""
    type: list[Text] = Field(default_factory=list, examples=[["Links"]])
    """Of one of these types."""
    not_type: list[Text] = Field(default_factory=list)
    """Of none of these."""
    reason: list[AttentionReason] = Field(default_factory=list)
    """Needs a decision for one of these reasons."""
    not_reason: list[AttentionReason] = Field(default_factory=list)
    """And for none of these."""
    source: Text = ""
    """Where it was placed."""
    not_source: list[Text] = Field(default_factory=list)
    """Placed in none of these."""
    product: Text = ""
    """With this product."""
    placed_from: Time | None = Field(None, alias="from")
    """Placed from then on: a time, or a day; UTC where no zone is named."""
    placed_to: Time | None = Field(None, alias="to")
    """Placed before."""
    done_from: Time | None = None
    """Completed from then on."""
    done_to: Time | None = None
    """Completed before."""
    ended_from: Time | None = None
    """Completed, cancelled or refused from then on."""
    min: Amount | None = None
    """Worth as much or more."""
    max: Amount | None = None
    """Worth as much or less."""
    older: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,3}[smhd]$", examples=["2h"])] | None = None
    """Placed at least so long ago: 90s, 30m, 1h or 2d."""
    prefix: Text = ""
    """The PO number begins so."""
    assigned: Text = ""
    """Assigned to this name."""
    job: Number | None = None
    """Of this job."""
    po: list[Text] = Field(default_factory=list, max_length=LARGEST_PAGE)
    """One of these PO numbers."""
    imported: Number | None = Field(None, alias="import")
    """Placed by this import."""
    each: Switch = "false"
    """In the view `late`: those too that are late together."""
    watched: Switch = "false"
    """Without those that were over when first seen."""
    sort: Sort = "placed"
    """What the list is sorted by."""
    asc: Switch = "false"
    """Ascending."""
