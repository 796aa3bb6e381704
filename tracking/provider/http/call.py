"""One API call, and the result of its latest attempt. Carried by httpx in the extensions of a request."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import httpx


@dataclass(slots=True)
class ApiCall:
    """Call to make; after an attempt, what is recorded of it.

    `document` is sent as JSON; what sends one places an order. `left_at` and `left_monotonic` tell when the latest
    attempt left, None and 0 before it does. Nothing of the bodies is recorded where the call is `confidential`.
    """

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    document: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    order_po: str | None = None
    provider_id: str | None = None
    confidential: bool = False
    left_at: datetime | None = None
    left_monotonic: float = 0.0
    status: int | None = None
    masked_answer: str | None = None

    @property
    def recorded_path(self) -> str:
        """The path for the record, without the PONumber."""
        params = {name: value for name, value in self.params.items() if name != "poNumber"}
        return f"{self.path}?{urlencode(params)}" if params else self.path

    def begin_attempt(self) -> None:
        """Forgets the attempt before."""
        self.left_at, self.status, self.masked_answer = None, None, None

    def extensions(self, read: Callable[[Any], Any]) -> dict[str, Any]:
        """What the request carries for the transports: the call, and what reads the JSON of its answer."""
        return {"api_call": self, "read": read}


def call_of(request: httpx.Request) -> ApiCall:
    """The call that the request makes."""
    call: ApiCall = request.extensions["api_call"]
    return call
