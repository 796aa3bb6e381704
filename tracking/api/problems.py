"""Errors as the API answers them: problem details (RFC 9457), each with what to do. Knows no order and no store."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import JSONResponse, Response

from tracking.errors import (
    InvalidSubmission,
    NotAllowed,
    NotPermitted,
    Problem,
    StoreBusy,
    StoreError,
    TooSlow,
    TrackingError,
    UnknownOrder,
    explain,
)

MEDIA_TYPE = "application/problem+json"
DOCS = "/api/v1/docs"
SCHEME = 'Bearer realm="tracking"'


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of error: its status, its title, and what to do."""

    status: int
    title: str
    advice: str


KINDS: Mapping[str, Kind] = {
    "unauthorized": Kind(
        401,
        "No valid token",
        "Send the header `Authorization: Bearer trk_...`. `tracking tokens add NAME`, or the page API tokens, makes a "
        "token; one that was revoked or has expired counts no more.",
    ),
    "forbidden": Kind(
        403, "Not permitted", "Use a token with the role operator (`tracking tokens add NAME --role operator`)."
    ),
    "foreign": Kind(
        403, "From another site", "Ask by the name in TRACKING_CONSOLE_URL or TRACKING_PUBLIC_URL, or by IP address."
    ),
    "not-found": Kind(404, "Not found", "Check the id: a PO number, the provider ID, or an external ID of one order."),
    "no-such-address": Kind(404, "No such address", "The description of all addresses is at /api/v1/openapi.json."),
    "method-not-allowed": Kind(405, "Method not allowed", "Use one of the methods that the header Allow names."),
    "too-slow-body": Kind(408, "The body did not come in time", "Send the request again, all of it at once."),
    "conflict": Kind(409, "Not possible now", "Read the order: it may have changed since you read it."),
    "in-progress": Kind(409, "In progress", "The same request is being answered: wait a second and send it again."),
    "replaced": Kind(
        410,
        "The log was replaced",
        "The database was restored from a copy: read the feed anew, from before that.",
    ),
    "too-large": Kind(413, "Too large", "Send less at once: split the list over several requests."),
    "media-type": Kind(415, "Not JSON", "Send JSON with the header `Content-Type: application/json`."),
    "invalid": Kind(422, "Cannot be used", "Fix what `problems` names and send it again; nothing was changed."),
    "key-reused": Kind(422, "Idempotency-Key used for something else", "Send each new request with a key of its own."),
    "too-many-requests": Kind(429, "Too many requests", "Wait as long as the header Retry-After says."),
    "unexpected": Kind(
        500, "Something went wrong here", "The console's log says what. Nothing is known to be changed."
    ),
    "busy": Kind(503, "The database is busy", "Send it again in a moment; nothing was changed."),
    "store": Kind(503, "The database cannot be used", "An operator of the console has to act; /healthz says why."),
    "too-slow": Kind(
        503, "This takes too long to read", "Ask for less: a span of time, a smaller limit, one filter more."
    ),
}


class Refusal(Exception):
    """An error to be answered: its kind, a sentence about this case, and every place in the request that has a problem.

    `more` are members of the document beside those of every problem.
    """

    def __init__(
        self,
        kind: str,
        detail: str,
        problems: Sequence[Problem] = (),
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        self.kind, self.detail, self.problems = kind, detail, tuple(problems)
        self.headers, self.more = dict(headers or {}), dict(more or {})
        super().__init__(detail)

    def response(self, prefix: str = "") -> Response:
        """The answer. `prefix` is the path below which the API is served."""
        kind = KINDS[self.kind]
        document: dict[str, Any] = {
            "type": f"{prefix}{DOCS}#{self.kind}",
            "title": kind.title,
            "status": kind.status,
            "detail": self.detail,
            "advice": kind.advice,
        }
        if self.problems:
            document["problems"] = [{"where": each.where, "message": each.message} for each in self.problems]
        headers = {**({"WWW-Authenticate": SCHEME} if kind.status == 401 else {}), **self.headers}
        return JSONResponse(document | self.more, kind.status, headers, MEDIA_TYPE)


def invalid(problems: Iterable[Problem]) -> Refusal:
    """The refusal of something that cannot be used, with every place."""
    listed = tuple(problems)
    return Refusal("invalid", "; ".join(map(str, listed[:3])), listed)


def refusal_of(error: TrackingError) -> Refusal:
    """The refusal that an error of ours is answered with."""
    match error:
        case InvalidSubmission():
            return invalid(error.problems)
        case NotPermitted():
            return Refusal("forbidden", str(error))
        case UnknownOrder():
            return Refusal("not-found", str(error))
        case NotAllowed():
            return Refusal("conflict", str(error))
        case TooSlow():
            return Refusal("too-slow", "The read was given up after five seconds.")
        case StoreBusy():
            return Refusal("busy", explain(error).title, headers={"Retry-After": "1"})
        case StoreError():
            return Refusal("store", explain(error).title, headers={"Retry-After": "30"})
        case _:
            return Refusal("unexpected", explain(error).title)
