"""Named scenarios: each selects faults for one way the provider may behave, from none to everything at once.

Owns names, summaries and the choice of faults; what a fault does is elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tracking.sandbox.faults import Faults


@dataclass(frozen=True)
class Scenario:
    """A named set of faults, with one plain sentence for a table."""

    name: str
    summary: str
    faults: Faults


def _scenario(name: str, summary: str, **faults: Any) -> Scenario:
    return Scenario(name, summary, Faults(**faults))


_MIXED_FAULTS = (
    Faults(post_failure="504-after", share=0.5),
    Faults(post_failure="504-before", share=0.5),
    Faults(post_failure="500-after", share=0.5),
    Faults(post_failure="disconnect-after", share=0.5),
    Faults(post_failure="disconnect-before", share=0.5),
    Faults(webhook="duplicate", share=0.7),
    Faults(webhook="never", share=0.7),
    Faults(webhook="early", share=0.7),
    Faults(webhook="foreign", share=0.7),
    Faults(claim_data="late", share=0.7),
    Faults(unknown_status=True, share=0.7),
    Faults(regress=True, share=0.5),
    Faults(cancelled=True, share=0.3),
    Faults(rotate_claims=True, share=0.5),
    Faults(approval=True, share=0.5),
)

_SCENARIOS = (
    _scenario("normal", "Everything works as documented."),
    _scenario("camel-case", "All names are in camelCase.", name_case="camel"),
    _scenario("expires-in-minutes", "ExpiresIn counts minutes.", expires_in_unit="minutes"),
    _scenario("expires-in-zero", "ExpiresIn is 0 although the token lives.", expires_in_unit="zero"),
    _scenario("expires-in-negative", "ExpiresIn is negative although the token lives.", expires_in_unit="negative"),
    _scenario("early-401", "A token is refused after a dozen calls, long before it ends.", early_401=True),
    _scenario("opaque-token", "The token is no JWT, so only ExpiresIn tells its end.", opaque_token=True),
    _scenario(
        "token-outage",
        "The token call answers 503 for the first 15 seconds of every two minutes.",
        token_outage_seconds=15,
    ),
    _scenario("access-disabled", "API access is disabled for the account: 403.", access_disabled=True),
    _scenario("json-errors", "Errors carry a JSON body.", error_body="json", post_failure="504-before", share=0.3),
    _scenario("html-errors", "Errors carry an HTML page.", error_body="html", post_failure="500-before", share=0.3),
    _scenario(
        "conflict-several",
        "A 409 names a second order besides the right one.",
        conflict_shape="several",
        post_failure="504-after",
        share=0.4,
    ),
    _scenario(
        "conflict-single",
        "A 409 names the order as OrderId.",
        conflict_shape="single",
        post_failure="504-after",
        share=0.4,
    ),
    _scenario("conflict-id", "A 409 names the order as Id.", conflict_shape="id", post_failure="504-after", share=0.4),
    _scenario("conflict-empty", "A 409 has no body.", conflict_shape="empty", post_failure="504-after", share=0.4),
    _scenario(
        "conflict-mismatch",
        "Some PONumbers already belong to an order with other contents.",
        conflict_compares="mismatch",
        share=0.3,
    ),
    _scenario(
        "conflict-strict",
        "A PONumber sent again with other contents gets 400 instead of 409.",
        conflict_compares="strict",
        post_failure="504-after",
        share=0.4,
    ),
    _scenario(
        "refusal-uses-up",
        "A 422 uses the PONumber up: sent again, it gets a 409 without an order.",
        refusal_uses_up=True,
        funds="short",
        share=0.4,
    ),
    _scenario("oldest-first", "The order list begins with the oldest.", list_order="oldest"),
    _scenario(
        "shifting-pages", "Another system places an order between two pages of the list.", insert_between_pages=True
    ),
    _scenario("bare-lists", "Lists come without Page, PageSize and TotalCount.", list_totals=False),
    _scenario(
        "loose-filters",
        "Text filters find parts, and date bounds are exclusive.",
        match="contains",
        bounds_inclusive=False,
    ),
    _scenario("list-without-claims", "Orders in the list come without their claim data.", claims_in_list=False),
    _scenario("late-visible", "A new order is answered with 404 for its first 5 seconds.", visible_after=5),
    _scenario("always-pending", "No order is complete within its POST.", pending_threshold_units=0),
    _scenario("slow-fulfillment", "Orders take ten times as long.", pace=10),
    _scenario("endless-pending", "Some orders stay Pending for ever.", never=True, share=0.3),
    _scenario(
        "unknown-status",
        "Half of the orders pass through InReview, a status nobody knows.",
        unknown_status=True,
        share=0.5,
    ),
    _scenario("approval", "Half of the orders wait in AwaitingApproval first.", approval=True, share=0.5),
    _scenario("cancelled", "Some orders end Cancelled.", cancelled=True, share=0.3),
    _scenario(
        "late-claims",
        "Half of the orders are Completed before their claim data is there.",
        claim_data="late",
        share=0.5,
    ),
    _scenario(
        "short-claims",
        "Half of the orders are Completed with a claim of each line missing at first.",
        claim_data="short",
        share=0.5,
    ),
    _scenario(
        "single-quantity", "A quantity above one is refused for Links and DigitalDelivery.", quantity_above_one="refuse"
    ),
    _scenario("webhook-duplicate", "Half of the webhooks come three times.", webhook="duplicate", share=0.5),
    _scenario("webhook-lost", "Half of the webhooks never come.", webhook="never", share=0.5),
    _scenario("webhook-late", "Half of the webhooks come five minutes late.", webhook="late", share=0.5),
    _scenario(
        "webhook-early", "Half of the webhooks come before the order shows Completed.", webhook="early", share=0.5
    ),
    _scenario("webhook-foreign", "Half of the webhooks name another order first.", webhook="foreign", share=0.5),
    _scenario(
        "rate-limited",
        "More than three calls a second, and every 15th, get 429 with Retry-After in seconds.",
        rate_limit="retry-after",
    ),
    _scenario(
        "rate-limited-date",
        "More than three calls a second get 429 with Retry-After as a date.",
        rate_limit="retry-date",
    ),
    _scenario(
        "rate-limited-absurd",
        "More than three calls a second get 429 with a Retry-After of ten years.",
        rate_limit="retry-absurd",
    ),
    _scenario("rate-limited-bare", "More than three calls a second get 429 without Retry-After.", rate_limit="bare"),
    _scenario("outage", "Every call gets 503 for the first 15 seconds of every two minutes.", outage_seconds=15),
    _scenario("post-500-before", "Some POSTs get 500 and place nothing.", post_failure="500-before", share=0.4),
    _scenario(
        "post-500-after", "Some POSTs get 500 although the order is placed.", post_failure="500-after", share=0.4
    ),
    _scenario("post-504-before", "Some POSTs get 504 and place nothing.", post_failure="504-before", share=0.4),
    _scenario(
        "post-504-after", "Some POSTs get 504 although the order is placed.", post_failure="504-after", share=0.4
    ),
    _scenario(
        "post-disconnect-before",
        "Some POSTs lose their connection and place nothing.",
        post_failure="disconnect-before",
        share=0.4,
    ),
    _scenario(
        "post-disconnect-after",
        "Some POSTs lose their connection although the order is placed.",
        post_failure="disconnect-after",
        share=0.4,
    ),
    _scenario(
        "slow-answers",
        "Some POSTs place their order and are answered later than a client waits.",
        post_failure="slow-after",
        share=0.4,
    ),
    _scenario(
        "slow-placing",
        "Some POSTs place their order so late that the retry overtakes them.",
        post_failure="slow-before",
        share=0.4,
    ),
    _scenario(
        "post-cut-after",
        "Some POSTs place their order and are answered with half a JSON text.",
        post_failure="cut-after",
        share=0.4,
    ),
    _scenario("zulu-timestamps", "Timestamps end in Z.", timestamps="zulu"),
    _scenario("offset-timestamps", "Timestamps carry an offset of minus five hours.", timestamps="offset"),
    _scenario("fraction-timestamps", "Timestamps carry seven digits of a second.", timestamps="fraction"),
    _scenario("us-timestamps", "Timestamps are in US form.", timestamps="us"),
    _scenario("cost-null", "No cost is told.", cost_null=True),
    _scenario("extra-fields", "Answers carry fields nobody knows.", extra_fields=True),
    _scenario("odd-fields", "Fields that nobody needs come with wrong types.", odd_fields=True),
    _scenario(
        "odd-webhooks",
        "Webhooks come in other encodings and forms, with wrong types, or with an empty body.",
        odd_webhooks=True,
    ),
    _scenario(
        "unknown-line-status",
        "Lines of every third completed order show Delivered, a word nobody knows.",
        unknown_line_status=True,
    ),
    _scenario("string-numbers", "Numbers come as strings.", numbers_as_strings=True),
    _scenario("max-lines", "Orders above 50 lines are refused with 400.", max_lines=50),
    _scenario("too-large", "Orders above 50 lines are refused with 413.", max_lines=50, max_lines_status=413),
    _scenario(
        "no-balance", "AccountBalance, Carriers, Status and Brandings are not offered: 404.", balance_available=False
    ),
    _scenario("rotating-claims", "Half of the orders show other claim links each time.", rotate_claims=True, share=0.5),
    _scenario("regress", "Half of the orders go back from Completed to Processing once.", regress=True, share=0.5),
    _scenario(
        "insufficient-funds",
        "The balance does not suffice for about half of the orders when they first come: 422.",
        funds="short",
        share=0.5,
    ),
    _scenario("answers-html", "Every fourth GET gets an HTML page with its 200.", bad_response="html"),
    _scenario("answers-cut", "Every fourth GET gets half of its JSON.", bad_response="cut"),
    _scenario("answers-null", "Every fourth GET gets null.", bad_response="null"),
    _scenario("answers-object", "Every fourth GET gets an empty object.", bad_response="object"),
    _scenario("answers-list", "Every fourth GET gets an empty list.", bad_response="list"),
    _scenario("answers-nan", "Every fourth GET gets NaN for its numbers.", bad_response="nan"),
    _scenario("answers-wrong-id", "Every fourth GET names other orders than it shows.", bad_response="wrong-id"),
    _scenario("answers-huge", "Every fourth GET gets 50 MB.", bad_response="huge"),
    _scenario("echo-without-external-ids", "ExternalIds are not echoed.", echo="no-external-ids"),
    _scenario(
        "echo-respelled",
        "Notes, ExternalIds and product ids come back in another case, values and quantities as other numbers.",
        echo="respelled",
    ),
    _scenario("echo-in-lower-case", "The answer to a POST writes ids in lower case.", echo="lower-case"),
    _scenario("echo-regrouped", "Lines of one product, value, status and address come back as one.", echo="regrouped"),
    _scenario(
        "behind-redirects",
        "Every fourth call is answered by a proxy with a redirect to another page.",
        intermediary="redirect",
    ),
    _scenario(
        "behind-firewall", "Every fourth call is answered by a firewall's page with 403.", intermediary="firewall"
    ),
    _scenario("behind-portal", "Every fourth call is answered by a sign-in page with 200.", intermediary="portal"),
    _scenario(
        "behind-maintenance",
        "Every twelfth call is answered by a maintenance page with 503 and a Retry-After of two hours.",
        intermediary="maintenance",
        intermediary_every=12,
    ),
    _scenario(
        "behind-gateway",
        "Every fourth call is answered by a gateway with 400 and JSON of its own.",
        intermediary="gateway",
    ),
    _scenario(
        "behind-passing-firewall",
        "Every fourth call is carried out, and answered by a firewall's page with 403.",
        intermediary="firewall",
        intermediary_passes_on=True,
    ),
    _scenario(
        "mixed-faults",
        "A bit of everything: broken POSTs, strange webhooks, odd states, 429, bad answers and short outages.",
        blend=_MIXED_FAULTS,
        error_body="html",
        early_401=True,
        early_401_calls=40,
        insert_between_pages=True,
        rate_limit="retry-after",
        rate_limit_per_second=20,
        rate_limit_every=25,
        bad_response="cut",
        bad_response_every=20,
        outage_seconds=4,
        extra_fields=True,
    ),
)

SCENARIOS: Mapping[str, Scenario] = {scenario.name: scenario for scenario in _SCENARIOS}
