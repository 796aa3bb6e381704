"""Secrets in settings: their required form; and those made on the first start, in files of their own."""

import base64
import secrets
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, SecretStr

from tracking import files
from tracking.errors import Problem, SettingsError

Text = TypeVar("Text", str, SecretStr)
KEY_BYTES = 32
WEBHOOK_SECRET_FILE, CLAIMS_KEY_FILE = "webhook.secret", "claims.key"
MAKE_A_KEY = "python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'"


def split(secret: SecretStr) -> tuple[str, ...]:
    """Split what is separated by commas."""
    return tuple(part.strip() for part in secret.get_secret_value().split(","))


def fits_a_header(value: Text | None) -> Text | None:
    """Refuse what no header can carry. Raises ValueError without repeating it."""
    text = value.get_secret_value() if isinstance(value, SecretStr) else value or ""
    if not all("!" <= letter <= "~" for letter in text.strip()):
        raise ValueError("cannot be sent in a header: it holds a space or a letter outside of ASCII; copy it again")
    return value


def strong_enough(value: SecretStr | None) -> SecretStr | None:
    """Refuse webhook secrets that could be guessed. Raises ValueError without repeating them."""
    if value is None:
        return None
    parts = split(value)
    if not 1 <= len(parts) <= 2 or any(len(part) < 16 for part in parts):
        raise ValueError("must be one or two secrets of 16 characters or more, comma separated")
    return value


def all_keys(value: SecretStr | None) -> SecretStr | None:
    """Refuse what is no Fernet key. Raises ValueError without repeating it."""
    if value is not None and not all(is_key(part) for part in split(value)):
        raise ValueError(f"must be one or several Fernet keys, comma separated; {MAKE_A_KEY} makes one")
    return value


HeaderText = Annotated[str | None, AfterValidator(fits_a_header)]
HeaderSecret = Annotated[SecretStr | None, AfterValidator(fits_a_header)]
WebhookSecrets = Annotated[SecretStr | None, AfterValidator(strong_enough)]
ClaimsKeys = Annotated[SecretStr | None, AfterValidator(all_keys)]

# A Fernet key by its definition: to import the library that uses it takes a part of a start that somebody waits for.


def new_key() -> str:
    """Make a Fernet key."""
    return base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def is_key(text: str) -> bool:
    """Whether the text is a Fernet key."""
    try:
        return len(base64.urlsafe_b64decode(text)) == KEY_BYTES
    except ValueError:
        return False


def stored_webhook_secret(folder: Path) -> str:
    """Read the secret from its file in the folder; made and kept there (mode 600) where there is none yet.

    Raises SettingsError where that cannot be read or written.
    """
    path = folder / WEBHOOK_SECRET_FILE
    stored = _stored(path, "TRACKING_WEBHOOK_SECRET", secrets.token_urlsafe(32))
    if len(stored) < 16:
        raise SettingsError([Problem("TRACKING_WEBHOOK_SECRET", f"{path} holds no secret: delete it for a new one")])
    return stored


def stored_claims_key(folder: Path) -> str:
    """The same for the key that claim data is encrypted with."""
    path = folder / CLAIMS_KEY_FILE
    stored = _stored(path, "TRACKING_CLAIMS_KEY", new_key())
    if not is_key(stored):
        message = f"{path} holds no key: restore it from a backup; a new one cannot decrypt what was stored before"
        raise SettingsError([Problem("TRACKING_CLAIMS_KEY", message)])
    return stored


def _stored(path: Path, variable: str, new: str) -> str:
    """Reads the secret from its file; where there is none yet, `new` is written there."""
    try:
        files.make_folder(path.parent)
        if not path.exists():
            files.write_once(path, new)
        # What was made with it is stored, or given away: it must not be another one tomorrow.
        files.flush_folder(path.parent)
        return path.read_text("utf-8").strip()
    except UnicodeDecodeError:
        return ""  # which is no secret and no key
    except OSError as exc:
        message = f"cannot be saved in {path} ({exc.strerror}): set it, or make the folder writable"
        raise SettingsError([Problem(variable, message)]) from exc
