"""All errors as one tree. Every boundary translates foreign errors into these, `from exc`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from typing import ClassVar


class TrackingError(Exception):
    """The base of everything this package raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with one input: where it is, what it is, what to do.

    Of a file also in numbers: the rows of a CSV file or the orders of a JSON file that have it, and their column.
    """

    where: str
    message: str
    rows: tuple[int, ...] = field(default=(), compare=False, repr=False)
    column: str = field(default="", compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class SettingsError(TrackingError):
    """The settings cannot be used. `problems` holds all of them, so that all can be fixed at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(str(problem) for problem in problems))


class StoreError(TrackingError):
    """The database did not do what was asked."""


class StoreUnusable(StoreError):
    """The database cannot be used until somebody acts; the message says how."""


class NoStore(StoreUnusable):
    """There is no database at the place that the settings name; the message says how one comes about."""


class StoreBusy(StoreError):
    """The database is locked, full, read-only or out of reach at the moment; the transaction wrote nothing."""


class TooSlow(StoreError):
    """A read took longer than it may. Nothing is wrong with the database: what asks for less is read in time."""


class InvalidSubmission(TrackingError):
    """An order request that must not be sent. `problems` names every place."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(str(problem) for problem in self.problems[:5]))


class InvalidNote(InvalidSubmission):
    """An operator's words on an order that cannot be stored: none, or too many."""


class InvalidJob(InvalidSubmission):
    """An act on many orders that cannot be started: too many of them, none, or it lacks what it needs."""


class InvalidSubscription(InvalidSubmission):
    """A subscription of outgoing webhooks that cannot be added; the message repeats no secret and no URL's query."""


class UnknownSubscription(TrackingError):
    """No subscription of outgoing webhooks has this name."""


class UnknownJob(TrackingError):
    """No job has this number."""


class UnknownImport(TrackingError):
    """No file was imported under this number."""


class UnknownOrder(TrackingError):
    """No order has this PONumber or id."""


class NotAllowed(TrackingError):
    """The order's state forbids it; the message says why and what is possible instead."""


class NotPermitted(TrackingError):
    """The actor's role forbids it; the message says which role may."""


class NotAdmitted(NotPermitted):
    """The person at the screen may not even read; the message says why."""


class ClaimsUnavailable(TrackingError):
    """Claim data cannot be shown; the message says why and what to do, and never holds any of it."""


class NotComputed(TrackingError):
    """Figures that cannot be had: there is too little to go on, or it took too long. The message says which."""


class CallbackRefused(TrackingError):
    """A webhook call that proves nothing. The reason is for the operators, never for the caller.

    `rule` is the reason as a word; `named` holds the `po_number` and `provider_id` that its body named, unproven.
    """

    def __init__(self, message: str, *, rule: str, named: Mapping[str, str | None] | None = None) -> None:
        self.rule, self.named = rule, dict(named or {})
        super().__init__(message)


class ProviderError(TrackingError):
    """The provider's API did not do what was asked.

    `status` is the HTTP status where there was one, `outcome` the word for it in the record of calls. The message never
    holds a header, a body or an address.
    """

    outcome: ClassVar[str] = "unreadable"

    def __init_subclass__(cls, outcome: str = "unreadable") -> None:
        cls.outcome = outcome

    def __init__(self, message: str, *, status: int | None = None) -> None:
        self.status = status
        super().__init__(message)

    @property
    def is_server_error(self) -> bool:
        """Whether the answer was a 5xx: other calls would fail too at the moment."""
        return self.status is not None and self.status >= HTTPStatus.INTERNAL_SERVER_ERROR


class NotSent(ProviderError, outcome="not sent"):
    """The request surely never reached the provider: no connection, or no token to send it with."""


class OutcomeUnknown(ProviderError, outcome="unknown"):
    """It may or may not have been carried out: a timeout, a broken connection, a 5xx."""


class NotTheProvider(OutcomeUnknown, outcome="not the provider"):
    """Something between us and the provider answered, or nothing tells that it was the provider: it decides nothing.

    The message says what came, such as a firewall's page, and whose it is where it says so.
    """


class Throttled(ProviderError, outcome="throttled"):
    """The provider asks to wait `retry_after` before the next call.

    `by_other`: something between us and the provider asked, so that nobody knows whether the call was carried out.
    """

    def __init__(self, message: str, *, status: int, retry_after: timedelta, by_other: bool = False) -> None:
        self.retry_after = retry_after
        self.by_other = by_other
        super().__init__(message, status=status)


class CredentialsRefused(ProviderError, outcome="credentials refused"):
    """No token for these credentials, or a fresh token was refused."""


class AccessDisabled(ProviderError, outcome="access disabled"):
    """403: API access is disabled for the account."""


class NotFound(ProviderError, outcome="not found"):
    """404: the provider does not know it, or does not offer it."""


class RequestRejected(ProviderError, outcome="rejected"):
    """400, 413 or 422: the provider will not take the request as it is; `problems` are its own words."""

    def __init__(self, message: str, *, status: int, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(message, status=status)

    @property
    def reason(self) -> str:
        """The provider's reason in plain words."""
        return "; ".join(str(problem) for problem in self.problems[:5]) or str(self)


class InsufficientFunds(ProviderError, outcome="insufficient funds"):
    """422: the balance does not cover the order. Amounts are in minor units, None where not told."""

    def __init__(self, *, available: int | None, cost: int | None) -> None:
        self.available = available
        self.cost = cost
        super().__init__("the balance does not cover the order", status=422)

    @property
    def reason(self) -> str:
        """The provider's reason in plain words."""
        if self.available is None or self.cost is None:
            return str(self)
        return f"the balance of {self.available / 100:.2f} does not cover the cost of {self.cost / 100:.2f}"


class DuplicateOrder(ProviderError, outcome="duplicate"):
    """409: the PONumber is taken; `ids` are the orders the provider names, perhaps none."""

    def __init__(self, ids: Sequence[str]) -> None:
        self.ids = tuple(ids)
        super().__init__("the PONumber is taken", status=409)


class UnreadableAnswer(ProviderError):
    """A 2xx whose body is not what was asked for: not JSON, too large, another order."""


def causes_of(exc: BaseException | None) -> Iterator[BaseException]:
    """Walk from the error to those that led to it, nearest first."""
    visited: set[int] = set()
    while exc is not None and id(exc) not in visited:
        visited.add(id(exc))
        yield exc
        # A library's cause is the error that it wraps; what went on before is the context of that one.
        exc = exc.__cause__ or exc.__context__


@dataclass(frozen=True, slots=True)
class Explanation:
    """An error for people: what failed, each thing that is wrong, and what to do; `advice` may be empty."""

    title: str
    problems: tuple[str, ...]
    advice: str


_TITLES: tuple[tuple[type[TrackingError], str, str], ...] = (
    (SettingsError, "The settings cannot be used", "Fix the settings and restart."),
    (InvalidNote, "Nothing was saved", "Change the text and try again."),
    (InvalidJob, "Nothing was started", "Change the filter or what is missing, and try again."),
    (InvalidSubscription, "The webhook was not added", "Fix this and add it again."),
    (InvalidSubmission, "Nothing was sent", "Fix these before sending."),
    (NotAllowed, "Not possible now", "The order may have changed since this page was loaded."),
    (NotPermitted, "Not permitted", ""),
    (ClaimsUnavailable, "The claim data cannot be shown", "Nothing was added to the order's timeline."),
    (UnknownOrder, "No such order", "Search for it on the Orders page."),
    (UnknownImport, "No such import", "The list of imports has those there are."),
    (UnknownJob, "No such job", "The list of jobs has those there are."),
    (
        TooSlow,
        "This takes too long to read",
        "Narrow it: choose a span of time, take a filter away, or search for a whole ID.",
    ),
    (StoreBusy, "The database is busy", "Try again in a moment; this is not retried. Whatever was saved before stays."),
    (StoreUnusable, "The database cannot be used", "Nothing can be shown until this is fixed."),
    (TrackingError, "That did not work", "See the log for details."),
)


def explain(error: TrackingError) -> Explanation:
    """Put an error into words for people, on the pages and in the command line alike."""
    title, advice = next((title, advice) for kind, title, advice in _TITLES if isinstance(error, kind))
    problems = error.problems if isinstance(error, (SettingsError, InvalidSubmission)) else (error,)
    return Explanation(title, tuple(map(str, problems)), advice)
