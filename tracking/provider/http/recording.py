"""Records each attempt of a call, and derives the provider's health from them."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from tracking.errors import DuplicateOrder, InsufficientFunds, NotFound, NotSent, ProviderError, RequestRejected
from tracking.provider.call_log import ApiCallRecord
from tracking.provider.masking import SecretMasker
from tracking.provider.responses import Token

_logger = logging.getLogger(__package__)
# These say something of one order and nothing of the provider's health.
_ANSWERS = (NotFound, RequestRejected, InsufficientFunds, DuplicateOrder)


@dataclass(slots=True)
class ApiCall:
    """Call to make; after an attempt, what is recorded of it.

    `document` is sent as JSON; what sends one places an order. `left_at` and `left_monotonic` tell when the latest
    attempt left, None and 0 before it does, `token` with which. A `confidential` call, the one for a token, leaves
    without one, and nothing of its bodies is recorded. `optional`: what it asks for need not be offered, so that any
    404 says that it is not. `answer_headers` are read whatever the case of their names. `raw` is the JSON of the
    answer, None where there is none. `notes` collects what the answer holds against the contract.
    """

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    document: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    order_po: str | None = None
    provider_id: str | None = None
    confidential: bool = False
    optional: bool = False
    left_at: datetime | None = None
    left_monotonic: float = 0.0
    status: int | None = None
    answer_headers: Mapping[str, str] = field(default_factory=dict)
    token: Token | None = None
    raw: Any = field(default=None, repr=False)
    masked_answer: str | None = None
    notes: set[str] = field(default_factory=set)

    @property
    def recorded_path(self) -> str:
        """The path for the record, without the PONumber."""
        params = {name: value for name, value in self.params.items() if name != "poNumber"}
        return f"{self.path}?{urlencode(params)}" if params else self.path


class Recorder:
    """Hands each attempt that left to `record`, which must not raise; bodies are masked.

    `failing_since` and `last_error` say since when calls fail for reasons that are not one order's, and why the latest
    did; `failures` counts them since. `answered_at`: when the latest call left that was answered.
    """

    def __init__(self, record: Callable[[ApiCallRecord], None], masker: SecretMasker) -> None:
        self._record, self._masker = record, masker
        self.failing_since: datetime | None = None
        self.last_error: str | None = None
        self.failures = 0
        self.answered_at: datetime | None = None

    def note(self, call: ApiCall, error: BaseException | None, seconds: float) -> None:
        """Records an attempt that took so long and ended in this error, if any. One that never left is none."""
        if call.left_at is None:
            return
        if error is None or isinstance(error, _ANSWERS):
            self.failing_since, self.failures, self.answered_at = None, 0, call.left_at
        elif isinstance(error, ProviderError):
            self.failures += 1
            self.failing_since = self.failing_since or call.left_at
            in_words = error.status is None or f"(status {error.status}" in str(error)
            self.last_error = f"{type(error).__name__}: {error}" + ("" if in_words else f" ({error.status})")
        took, outcome = round(seconds * 1000), _outcome(error)
        level = logging.DEBUG if outcome in {"ok", "not found"} else logging.WARNING
        line = "call method=%s path=%s status=%s ms=%d outcome=%s"
        _logger.log(level, line, call.method, call.recorded_path, call.status, took, outcome)
        sent = None if call.document is None else self._masker.json(call.document)
        about = (call.order_po, call.provider_id, sent, call.masked_answer)
        self._record(ApiCallRecord(call.left_at, call.method, call.recorded_path, call.status, took, outcome, *about))


def _outcome(error: BaseException | None) -> str:
    if isinstance(error, NotSent) and (why := str(error).partition(": ")[2]):
        return f"{error.outcome}: {why}"
    if isinstance(error, ProviderError):
        return error.outcome
    return "ok" if error is None else "cancelled" if isinstance(error, asyncio.CancelledError) else "unreadable"
