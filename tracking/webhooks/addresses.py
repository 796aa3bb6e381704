"""Webhook addresses: makes and verifies the secret token in each order's address. Pure.

The provider signs nothing, so the address itself is the proof.

Each order has an address of its own: the HMAC of its PONumber under our secret. Whoever knows one order's address can
say something about that order alone, and nobody can make one up.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence

TOKEN_LENGTH = 43
_PURPOSE = b"fulfillment-complete:"


def make_token(po_number: str, secret: str) -> str:
    """Make the last part of the order's webhook address: an HMAC-SHA256 as 43 characters of URL-safe base64."""
    digest = hmac.digest(secret.encode(), _PURPOSE + po_number.encode("utf-8", "surrogatepass"), "sha256")
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def verify_token(presented: str, po_number: str, secrets: Sequence[str]) -> bool:
    """Tell whether the token is the order's under one of the secrets, in the same time for a no as for a yes."""
    given = presented.encode("utf-8", "surrogatepass")
    matches = [hmac.compare_digest(given, make_token(po_number, secret).encode()) for secret in secrets]
    return any(matches)


def token_digest(token: str) -> str:
    """Hash a token as it may be stored: nobody can call the address that only knows this."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()[:32]
