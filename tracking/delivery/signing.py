"""Signing by the Standard Webhooks scheme: secrets, how they are stored, and the headers of a delivery.

A secret is encrypted with the keys that claim data is encrypted with, and for its subscription alone; so is a
subscription's address, whose path and query may hold a token. No text of a `Secret` or of an error shows any of it.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tracking.errors import ClaimsUnavailable

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

PREFIX = "whsec_"
FEWEST_BYTES, MOST_BYTES = 24, 64
NEW_BYTES = 32
NO_KEY = "secrets of outgoing webhooks cannot be stored: set TRACKING_CLAIMS_KEY, the same for every process"
NOT_OPENED = "cannot be decrypted: no key in TRACKING_CLAIMS_KEY is the one that it was encrypted with"


class SecretRefused(ValueError):
    """The text is no secret of the scheme; the message repeats nothing of it."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret as its receiver gets it, shown once. `repr` does not show it."""

    text: str = field(repr=False)


def new_secret() -> Secret:
    """Make a secret by chance."""
    return Secret(PREFIX + base64.b64encode(secrets.token_bytes(NEW_BYTES)).decode())


def read_secret(text: str) -> Secret:
    """Read a secret that somebody gives. Raises SecretRefused."""
    try:
        content = base64.b64decode(text.strip().removeprefix(PREFIX), validate=True)
    except ValueError as exc:
        raise SecretRefused("must be whsec_ and base64 behind it") from exc
    if not text.strip().startswith(PREFIX) or not FEWEST_BYTES <= len(content) <= MOST_BYTES:
        raise SecretRefused(f"must be whsec_ and the base64 of {FEWEST_BYTES} to {MOST_BYTES} bytes")
    return Secret(text.strip())


class SecretCipher:
    """Encrypts secrets with the first of the Fernet keys, and decrypts with any; without a key none can be stored."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = tuple(keys)

    def encrypt(self, secret: Secret, name: str) -> str:
        """Encrypt the secret for the subscription of this name. Raises ClaimsUnavailable without a key."""
        return self._seal("secret", secret.text, name)

    def decrypt(self, sealed: str, name: str) -> Secret:
        """Decrypt what was encrypted for this subscription. Raises ClaimsUnavailable for anything else."""
        return Secret(self._open("secret", sealed, name))

    def encrypt_address(self, url: str, name: str) -> str:
        """Encrypt the address of the subscription of this name. Raises ClaimsUnavailable without a key."""
        return self._seal("address", url, name)

    def address_of(self, row: Mapping[Any, Any]) -> str:
        """The whole address of a subscription. Raises ClaimsUnavailable where it cannot be decrypted."""
        return self._open("address", row["sealed_url"], row["name"]) if row["sealed_url"] else str(row["url"])

    def _seal(self, what: str, text: str, name: str) -> str:
        return self._fernet.encrypt(json.dumps({"hook": name, what: text}).encode()).decode()

    def _open(self, what: str, sealed: str, name: str) -> str:
        from cryptography.fernet import InvalidToken  # noqa: PLC0415 - as below

        try:
            content = json.loads(self._fernet.decrypt(sealed.encode()))
        except InvalidToken as exc:
            raise ClaimsUnavailable(f"its {what} {NOT_OPENED}") from exc
        if content.get("hook") != name or what not in content:
            raise ClaimsUnavailable(f"its {what} was encrypted for another subscription: the row was changed by hand")
        return str(content[what])

    @cached_property
    def _fernet(self) -> MultiFernet:
        if not self._keys:
            raise ClaimsUnavailable(NO_KEY)
        # Imported at the first use: it takes a part of a start that somebody waits for.
        from cryptography.fernet import Fernet, MultiFernet  # noqa: PLC0415 - see above

        return MultiFernet([Fernet(key) for key in self._keys])


def signing_secrets(row: Mapping[Any, Any], cipher: SecretCipher, now: datetime) -> list[Secret]:
    """The secrets that a subscription signs with now, the newest first. Raises ClaimsUnavailable."""
    return [
        cipher.decrypt(each["sealed"], row["name"])
        for each in row["secrets"]
        if not each.get("until") or datetime.fromisoformat(each["until"]) > now
    ]


def signed_headers(message_id: str, payload: str, signing: Sequence[Secret], now: datetime) -> dict[str, str]:
    """The headers that prove who sends the body: one signature for each of the secrets."""
    from standardwebhooks import Webhook  # noqa: PLC0415 - at its first use, not a start

    at = now.astimezone(UTC)
    signatures = [Webhook(secret.text).sign(message_id, at, payload) for secret in signing]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
