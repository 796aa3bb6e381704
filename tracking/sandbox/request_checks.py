"""Middleware before every handler: outages, rate limits, bearer tokens; and corrupted answers after it.

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

from tracking.sandbox.faults import Faults
from tracking.sandbox.provider import Provider
from tracking.sandbox.responses import corrupt_response, error_response, intermediary_response

Handler = Callable[[Request], Awaitable[Response]]


class RequestChecks:
    """Rejects a request before its handler, or corrupts the response after it, as the faults ask."""

    def __init__(self, provider: Provider, tokens: BearerTokens) -> None:
        self._provider = provider
        self._tokens = tokens
        self._calls = 0
        self._carried = 0
        self._gets = 0
        self._second = (0, 0)

    def checked(self, handler: Handler, *, token: bool = True) -> Handler:
        """Wrap a handler in the checks; `token=False` is for the token call itself."""

        async def endpoint(request: Request) -> Response:
            now = self._provider.clock()
            if self._is_intercepted():
                if self._provider.faults.intermediary_passes_on:
                    await handler(request)
                return intermediary_response(self._provider.faults.intermediary)
            refusal = self._outage(now, token_call=not token) or self._rate_limit(now)
            if refusal is None and token:
                refusal = self._credentials(request, now)
            if refusal is not None:
                return refusal
            response = await handler(request)
            return self._corrupt(response) if request.method == "GET" else response

        return endpoint

    def _is_intercepted(self) -> bool:
        self._carried += 1
        faults = self._provider.faults
        return faults.intermediary != "none" and self._carried % faults.intermediary_every == 0

    def _outage(self, now: float, *, token_call: bool) -> Response | None:
        faults, speed = self._provider.faults, self._provider.speed
        if now < self._provider.outage_until:
            return error_response(503, faults)
        within = (now - self._provider.scenario_since) % (faults.outage_every / speed)
        remaining = faults.outage_seconds / speed - within
        if remaining > 0:
            return error_response(503, faults, {"Retry-After": str(ceil(remaining))})
        if token_call and within < faults.token_outage_seconds / speed:
            return error_response(503, faults)
        return None

    def _rate_limit(self, now: float) -> Response | None:
        faults = self._provider.faults
        self._calls += 1
        second, count = self._second
        self._second = (int(now), count + 1 if second == int(now) else 1)
        if faults.rate_limit == "none":
            return None
        if self._second[1] <= faults.rate_limit_per_second and self._calls % faults.rate_limit_every:
            return None
        match faults.rate_limit:
            case "retry-after":
                headers = {"Retry-After": "1"}
            case "retry-date":
                retry_at = datetime.fromtimestamp(now, UTC) + timedelta(seconds=2)
                headers = {"Retry-After": format_datetime(retry_at, usegmt=True)}
            case "retry-absurd":
                headers = {"Retry-After": "315360000"}
            case "bare":
                headers = {}
        return error_response(429, faults, headers)

    def _credentials(self, request: Request, now: float) -> Response | None:
        faults = self._provider.faults
        scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not self._tokens.accepts(value.strip(), now, faults):
            return error_response(401, faults)
        return error_response(403, faults) if faults.access_disabled else None

    def _corrupt(self, response: Response) -> Response:
        faults = self._provider.faults
        if faults.bad_response == "none" or response.status_code != 200:
            return response
        self._gets += 1
        return response if self._gets % faults.bad_response_every else corrupt_response(response, faults.bad_response)


LIFETIME = 3600
_EXPIRES_IN = {"seconds": LIFETIME, "minutes": LIFETIME // 60, "zero": 0, "negative": -1}


class BearerTokens:
    """Issues and verifies the bearer tokens of one account."""

    def __init__(self, key: bytes, email: str, access_token: str) -> None:
        self._key = key
        self._credentials = f"{email}\n{access_token}".encode()
        self._uses: Counter[str] = Counter()

    def accepts_credentials(self, email: str, access_token: str) -> bool:
        """Check the account's credentials."""
        return hmac.compare_digest(f"{email}\n{access_token}".encode(), self._credentials)

    def issue(self, now: float, faults: Faults) -> dict[str, Any]:
        """Issue a token; returns the JSON of the API."""
        claims = {"sub": "sandbox", "iat": int(now), "exp": int(now) + LIFETIME, "jti": secrets.token_hex(8)}
        head = _base64url(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
        payload = f"{head}.{_base64url(json.dumps(claims).encode())}"
        value = f"{payload}.{self._sign(payload)}"
        if faults.opaque_token:
            value = value.replace(".", "~")
        return {"Value": value, "ExpiresIn": _EXPIRES_IN[faults.expires_in_unit]}

    def accepts(self, value: str, now: float, faults: Faults) -> bool:
        """Verify a token and count its use."""
        payload, _, signature = value.replace("~", ".").rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._sign(payload).encode()):
            return False
        claims = json.loads(_from_base64url(payload.partition(".")[2]))
        if now >= claims["exp"]:
            return False
        self._uses[claims["jti"]] += 1
        return not faults.early_401 or self._uses[claims["jti"]] <= faults.early_401_calls

    def _sign(self, payload: str) -> str:
        return _base64url(hmac.digest(self._key, payload.encode(), hashlib.sha256))


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _from_base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
