"""Checks every request before its handler: outages, rate limits, bearer tokens; and corrupts answers after it.

Owns the making and checking of tokens, signed with the sandbox's own key so that a restart forgets none, and the counts
of calls and of a token's uses, which a restart may forget. Reads no body and touches no order.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from math import ceil
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from tracking.sandbox.faults import Switches
from tracking.sandbox.provider import World
from tracking.sandbox.responses import failure, spoiled

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


LIFETIME = 3600
_EXPIRES_IN = {"seconds": LIFETIME, "minutes": LIFETIME // 60, "zero": 0, "negative": -1}


class Tokens:
    """Makes and checks the bearer tokens of one account."""

    def __init__(self, key: bytes, email: str, access_token: str) -> None:
        self._key = key
        self._credentials = f"{email}\n{access_token}".encode()
        self._uses: Counter[str] = Counter()

    def knows(self, email: str, access_token: str) -> bool:
        """Whether these are the account's credentials."""
        return hmac.compare_digest(f"{email}\n{access_token}".encode(), self._credentials)

    def issue(self, now: float, switches: Switches) -> dict[str, Any]:
        """A new token as the API answers it."""
        claims = {"sub": "sandbox", "iat": int(now), "exp": int(now) + LIFETIME, "jti": secrets.token_hex(8)}
        head = _encode(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
        payload = f"{head}.{_encode(json.dumps(claims).encode())}"
        value = f"{payload}.{self._sign(payload)}"
        if switches.opaque_token:
            value = value.replace(".", "~")
        return {"Value": value, "ExpiresIn": _EXPIRES_IN[switches.expires_in_unit]}

    def accepts(self, value: str, now: float, switches: Switches) -> bool:
        """Whether a call with this token may pass."""
        payload, _, signature = value.replace("~", ".").rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._sign(payload).encode()):
            return False
        claims = json.loads(_decode(payload.partition(".")[2]))
        if now >= claims["exp"]:
            return False
        self._uses[claims["jti"]] += 1
        return not switches.early_401 or self._uses[claims["jti"]] <= switches.early_401_calls

    def _sign(self, payload: str) -> str:
        return _encode(hmac.digest(self._key, payload.encode(), hashlib.sha256))


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
