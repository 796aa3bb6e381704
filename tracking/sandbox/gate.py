"""What stands before every call: outages, rate limits, the bearer token; and what spoils an answer after it.

Owns the counts of calls, which a restart may forget. Reads no body and touches no order.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from math import ceil

from starlette.requests import Request
from starlette.responses import Response

from tracking.sandbox.answers import failure, spoiled
from tracking.sandbox.tokens import Tokens
from tracking.sandbox.world import World

Handler = Callable[[Request], Awaitable[Response]]


class Gate:
    """Lets a call through to its handler, or answers it."""

    def __init__(self, world: World, tokens: Tokens) -> None:
        self._world = world
        self._tokens = tokens
        self._calls = 0
        self._gets = 0
        self._second = (0, 0)

    def guard(self, handler: Handler, *, token: bool = True) -> Handler:
        """The handler behind the gate; without `token`, the token call itself."""

        async def endpoint(request: Request) -> Response:
            now = self._world.clock()
            refusal = self._outage(now, token_call=not token) or self._rate_limit(now)
            if refusal is None and token:
                refusal = self._credentials(request, now)
            if refusal is not None:
                return refusal
            response = await handler(request)
            return self._spoil(response) if request.method == "GET" else response

        return endpoint

    def _outage(self, now: float, *, token_call: bool) -> Response | None:
        switches, speed = self._world.switches, self._world.speed
        within = (now - self._world.since) % (switches.outage_every / speed)
        left = switches.outage_seconds / speed - within
        if left > 0:
            return failure(503, switches, {"Retry-After": str(ceil(left))})
        if token_call and within < switches.token_outage_seconds / speed:
            return failure(503, switches)
        return None

    def _rate_limit(self, now: float) -> Response | None:
        switches = self._world.switches
        self._calls += 1
        second, count = self._second
        self._second = (int(now), count + 1 if second == int(now) else 1)
        if switches.rate_limit == "none":
            return None
        if self._second[1] <= switches.rate_limit_per_second and self._calls % switches.rate_limit_every:
            return None
        match switches.rate_limit:
            case "retry-after":
                headers = {"Retry-After": "1"}
            case "retry-date":
                moment = datetime.fromtimestamp(now, UTC) + timedelta(seconds=2)
                headers = {"Retry-After": format_datetime(moment, usegmt=True)}
            case "retry-absurd":
                headers = {"Retry-After": "315360000"}
            case "bare":
                headers = {}
        return failure(429, switches, headers)

    def _credentials(self, request: Request, now: float) -> Response | None:
        switches = self._world.switches
        scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not self._tokens.accepts(value.strip(), now, switches):
            return failure(401, switches)
        return failure(403, switches) if switches.access_disabled else None

    def _spoil(self, response: Response) -> Response:
        switches = self._world.switches
        if switches.bad_answer == "none" or response.status_code != 200:
            return response
        self._gets += 1
        return response if self._gets % switches.bad_answer_every else spoiled(response, switches.bad_answer)
