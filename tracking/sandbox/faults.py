"""Fault injection: what the simulated provider does where the documentation leaves a choice, and to which orders.

Owns the values and the decision which orders a fault hits. Knows nothing of HTTP and has no state: the same seed
and PONumber always give the same faults.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

BadResponse = Literal["none", "html", "cut", "null", "object", "list", "nan", "wrong-id", "huge"]
PostFailure = Literal[
    "none",
    "500-before",
    "500-after",
    "504-before",
    "504-after",
    "disconnect-before",
    "disconnect-after",
    "slow-before",
    "slow-after",
    "cut-after",
]
RateLimitFault = Literal["none", "retry-after", "retry-date", "retry-absurd", "bare"]
TimestampFormat = Literal["bare", "zulu", "offset", "fraction", "us"]
Echo = Literal["exact", "no-external-ids", "respelled", "lower-case", "regrouped"]
Intermediary = Literal["none", "redirect", "firewall", "portal", "maintenance", "gateway"]
WebhookFault = Literal["normal", "duplicate", "late", "never", "early", "foreign"]


@dataclass(frozen=True)
class Faults:
    """One way the provider may behave; the number is the row of the contract's table of unknowns.

    The fields in `FAULTS_PER_ORDER` hit only `share` of the orders. Seconds are divided by the sandbox's speed.
    """

    name_case: Literal["pascal", "camel"] = "pascal"  # 1
    expires_in_unit: Literal["seconds", "minutes", "zero", "negative"] = "seconds"  # 2
    early_401: bool = False  # 2: each token is refused after `early_401_calls` uses
    early_401_calls: int = 12
    opaque_token: bool = False  # 2: not a JWT, so without a readable exp
    error_body: Literal["empty", "json", "html"] = "empty"  # 3
    conflict_shape: Literal["list", "several", "single", "id", "empty"] = "list"  # 4
    conflict_compares: Literal["body-blind", "mismatch", "strict"] = "body-blind"  # 5
    refusal_uses_up: bool = False  # 5: a 422 uses the PONumber up; the next POST gets a 409 without an order
    list_order: Literal["newest", "oldest"] = "newest"  # 6
    insert_between_pages: bool = False  # 6
    list_totals: bool = True  # 6: False leaves Page, PageSize and TotalCount out
    bounds_inclusive: bool = True  # 6: of startDate and endDate
    match: Literal["exact", "contains"] = "exact"  # 6: of the text filters of the order list
    claims_in_list: bool = True  # 6
    visible_after: float = 0.0  # 6: seconds for which a new order is answered with 404
    pending_threshold_units: int = 3  # 7: Links and Codes up to here are complete within the 201
    seconds_base: float = 20.0  # 7
    seconds_per_unit: float = 2.0  # 7
    pace: float = 1.0  # 7: multiplies the seconds; 0 completes any order within the 201
    never: bool = False  # 7: stays Pending for ever
    unknown_status: bool = False  # 8
    approval: bool = False  # 8: passes through AwaitingApproval
    cancelled: bool = False  # 8: ends Cancelled
    claim_data: Literal["full", "late", "short"] = "full"  # 9: late and short become full in time
    quantity_above_one: Literal["allow", "refuse"] = "allow"  # 10
    webhook: WebhookFault = "normal"  # 11
    rate_limit: RateLimitFault = "none"  # 12
    rate_limit_per_second: int = 3
    rate_limit_every: int = 15
    post_failure: PostFailure = "none"  # 13
    slow_seconds: float = 45.0
    timestamps: TimestampFormat = "bare"  # 14
    cost_null: bool = False  # 15
    extra_fields: bool = False  # 16
    odd_fields: bool = False  # 14 to 17: wrong types in fields that a client does not need
    odd_webhooks: bool = False  # 11: bodies in other encodings and forms, with wrong types, or empty
    unknown_line_status: bool = False  # 8: lines of every third completed order show a word nobody knows
    numbers_as_strings: bool = False  # 17
    max_lines: int | None = None  # 17
    max_lines_status: Literal[400, 413] = 400  # 17
    balance_available: bool = True  # 18: False answers AccountBalance, Carriers, Status, Brandings with 404
    rotate_claims: bool = False  # 19
    regress: bool = False  # 20
    funds: Literal["ample", "short"] = "ample"  # short: the first POST of an order gets 422
    access_disabled: bool = False  # 403 for everything but the token
    token_outage_seconds: float = 0.0  # the token call answers 503 so long, from the start and every `outage_every`
    outage_seconds: float = 0.0  # the same for every call
    outage_every: float = 120.0
    bad_response: BadResponse = "none"  # what every `bad_response_every`-th GET gets with its 200
    bad_response_every: int = 4
    echo: Echo = "exact"  # how what was sent comes back, all of it harmless
    intermediary: Intermediary = "none"  # what answers every `intermediary_every`-th call in the provider's place
    intermediary_every: int = 4
    intermediary_passes_on: bool = False  # it answers once the provider has carried the call out
    share: float = 1.0
    blend: tuple[Faults, ...] = ()  # each order takes its own fields from one of these


FAULTS_PER_ORDER = (
    "conflict_compares",
    "pace",
    "never",
    "unknown_status",
    "approval",
    "cancelled",
    "claim_data",
    "webhook",
    "post_failure",
    "rotate_claims",
    "regress",
    "funds",
)
_DEFAULTS: Mapping[str, Any] = {field.name: field.default for field in fields(Faults)}

NOTE_WORDS: Mapping[str, str] = {
    "slow": "takes ten times as long to complete",
    "instant": "is complete within the answer to its POST, whatever its size",
    "never": "stays Pending for ever",
    "cancelled": "ends Cancelled",
    "approval": "waits in AwaitingApproval before it is processed",
    "unknown-status": "passes through InReview, a status nobody knows",
    "regress": "is Completed, goes back to Processing once, and completes again",
    "late-claims": "is Completed while its claim data is still missing",
    "short-claims": "is Completed while one claim of each line is still missing",
    "rotating-claims": "shows other claim links each time it is read",
    "duplicate-webhook": "is announced by three webhooks",
    "lost-webhook": "is never announced by a webhook",
    "late-webhook": "is announced five minutes late",
    "early-webhook": "is announced before it is Completed",
    "foreign-webhook": "is announced by a webhook that names another order, then by its own",
    "timeout": "is placed, but its POST is answered with 504 once or twice",
    "timeout-before": "is answered with 504 once or twice before it is placed",
    "error": "is placed, but its POST is answered with 500 once or twice",
    "error-before": "is answered with 500 once or twice before it is placed",
    "disconnect": "is placed, but the connection breaks before the answer, once or twice",
    "disconnect-before": "loses its connection once or twice before it is placed",
    "slow-answer": "is placed, but answered later than a client waits, once or twice",
    "insufficient-funds": "is refused with 422 at its first POST",
    "mismatch": "finds its PONumber taken by an order with other contents",
}
_NOTE_EFFECTS: Mapping[str, Mapping[str, Any]] = {
    "slow": {"pace": 10.0},
    "instant": {"pace": 0.0},
    "never": {"never": True},
    "cancelled": {"cancelled": True},
    "approval": {"approval": True},
    "unknown-status": {"unknown_status": True},
    "regress": {"regress": True},
    "late-claims": {"claim_data": "late"},
    "short-claims": {"claim_data": "short"},
    "rotating-claims": {"rotate_claims": True},
    "duplicate-webhook": {"webhook": "duplicate"},
    "lost-webhook": {"webhook": "never"},
    "late-webhook": {"webhook": "late"},
    "early-webhook": {"webhook": "early"},
    "foreign-webhook": {"webhook": "foreign"},
    "timeout": {"post_failure": "504-after"},
    "timeout-before": {"post_failure": "504-before"},
    "error": {"post_failure": "500-after"},
    "error-before": {"post_failure": "500-before"},
    "disconnect": {"post_failure": "disconnect-after"},
    "disconnect-before": {"post_failure": "disconnect-before"},
    "slow-answer": {"post_failure": "slow-after"},
    "insufficient-funds": {"funds": "short"},
    "mismatch": {"conflict_compares": "mismatch"},
}


def seeded_random(*key: object) -> random.Random:
    """Seed a random generator from a key: the same numbers for the same key, in every process."""
    return random.Random("/".join(map(str, key)))  # noqa: S311 - repeatable chance is the point, nothing is secret  # nosec B311


def faults_of_order(faults: Faults, seed: int, po_number: str, note: str) -> Faults:
    """Select the faults of one order: the scenario's if they hit it, and whatever its note asks for."""
    blended = seeded_random(seed, "blend", po_number).choice(faults.blend) if faults.blend else faults
    affected = seeded_random(seed, "share", po_number).random() < blended.share
    values = {name: getattr(blended, name) if affected else _DEFAULTS[name] for name in FAULTS_PER_ORDER}
    if values["conflict_compares"] == "body-blind" and faults.conflict_compares == "strict":
        values["conflict_compares"] = "strict"
    for keyword in re.findall(r"\[([a-z-]+)\]", note.lower()):
        values.update(_NOTE_EFFECTS.get(keyword, {}))
    return replace(faults, **values)


def failing_post_count(seed: int, po_number: str) -> int:
    """Draw how many POSTs of this PONumber fail before one is let through: one or two."""
    return seeded_random(seed, "failing", po_number).randint(1, 2)
