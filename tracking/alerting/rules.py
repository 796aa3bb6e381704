"""Rules of alerts: for each kind of trouble how long it lasts before a message, and when it counts as over."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from tracking.settings.alerts import AlertRule

ALL = "all"  # every rule, where one is snoozed
GROUPED_EVERY = timedelta(minutes=5)
MOST_SINGLE = 10  # so many orders of a rule or more are one trouble, and no longer one each


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        name: its word in settings, on the command line and in the store.
        title: the trouble in a few words.
        when: when there is one.
        lasts: how long it must last before its message is sent.
        clear: how long it must be gone before it is over; what comes back sooner was never gone.
        urgent: whether its messages are sent in the quiet hours too.
        of_orders: whether each order is a trouble of its own: then messages are GROUPED_EVERY so long.
    """

    name: AlertRule
    title: str
    when: str
    lasts: timedelta
    clear: timedelta
    urgent: bool = False
    of_orders: bool = False


def _seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


_RULES = (
    Rule(
        AlertRule.STORE, "Database cannot be written",
        "the database takes no writes: a full disk, a lock, a server that is not there",
        _seconds(10), _seconds(30), urgent=True,
    ),
    Rule(
        AlertRule.REFUSED, "Credentials refused",
        "the provider refuses the credentials (401, 403): nothing is sent or polled",
        _seconds(30), _seconds(30), urgent=True,
    ),
    Rule(
        AlertRule.WORKERS, "Background worker not responding",
        "the poller or the sender gave no heartbeat for a minute, or has work and does not run",
        _seconds(30), _seconds(30), urgent=True,
    ),
    Rule(
        AlertRule.UNREACHABLE, "Provider unreachable",
        "API calls fail one after another, whatever the reason",
        _seconds(60), _seconds(60),
    ),
    Rule(
        AlertRule.EVERYONE_LATE, "Orders are late together",
        "so many orders of a delivery type are late that it is no chance",
        _seconds(0), _seconds(120),
    ),
    Rule(
        AlertRule.LATE, "Order is late",
        f"a single order is late; {MOST_SINGLE} or more without a common cause are one trouble",
        _seconds(60), _seconds(60), of_orders=True,
    ),
    Rule(
        AlertRule.DECISION, "Order needs a decision",
        f"an order needs a decision and is not snoozed; {MOST_SINGLE} or more are one trouble",
        _seconds(60), _seconds(30), of_orders=True,
    ),
    Rule(
        AlertRule.UNCONFIRMED, "Order is unconfirmed",
        f"it stays unknown whether the provider has an order; {MOST_SINGLE} or more are one trouble",
        _seconds(300), _seconds(30), of_orders=True,
    ),
    Rule(
        AlertRule.WEBHOOKS, "No webhooks",
        "orders complete without the webhook that should have announced them",
        _seconds(0), _seconds(60),
    ),
    Rule(
        AlertRule.DELIVERIES, "Outgoing webhooks switched off",
        "a subscription was switched off: its deliveries failed for days, or its receiver said that it is gone",
        _seconds(0), _seconds(0),
    ),
    Rule(
        AlertRule.BALANCE, "Balance is low",
        "the balance is below TRACKING_BALANCE_BELOW",
        _seconds(60), _seconds(300),
    ),
)  # fmt: skip
RULES: Mapping[str, Rule] = {rule.name.value: rule for rule in _RULES}
