"""One API call, and the result of its latest attempt."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from tracking.provider.responses import Token


@dataclass(slots=True)
class ApiCall:
    """Call to make; after an attempt, what is recorded of it.

    `document` is sent as JSON; what sends one places an order. `left_at` and `left_monotonic` tell when the latest
    attempt left, None and 0 before it does, `token` with which. A `confidential` call, the one for a token, leaves
    without one, and nothing of its bodies is recorded.
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
    token: Token | None = None
    masked_answer: str | None = None

    @property
    def recorded_path(self) -> str:
        """The path for the record, without the PONumber."""
        params = {name: value for name, value in self.params.items() if name != "poNumber"}
        return f"{self.path}?{urlencode(params)}" if params else self.path
