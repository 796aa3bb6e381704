"""The simulated provider's tokens: signed with its own key, so that a restart forgets none of them.

Owns making and checking. Keeps only how often a token was used, for the switch that ends tokens early.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections import Counter
from typing import Any

from tracking.sandbox.switches import Switches

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
