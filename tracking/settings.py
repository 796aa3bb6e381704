"""Settings: read and validate TRACKING_*, from the environment or `.env`; make and keep a secret where none is set."""

import base64
import functools
import logging
import os
import re
import secrets
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from tracking import files, startup
from tracking.errors import Problem, SettingsError
from tracking.orders.policy.approval_limit import APPROVAL_OFF, ApprovalLimit, read_limit
from tracking.orders.policy.balance_threshold import BalanceThreshold, read_threshold
from tracking.orders.policy.promises import LatePromise, read_promises
from tracking.orders.vocabulary import REASON_PRESETS, read_presets

log = logging.getLogger(__name__)

PREFIX = "TRACKING_"
ENV_FILE = ".env"
WEBHOOK_PATH = "/webhooks/fulfillment/"
MAX_WEBHOOK_ADDRESS = 500
KEY_BYTES = 32
MAKE_A_KEY = "python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'"
# Printable ASCII alone: outside of it are letters that turn into an ASCII one when their case is folded.
_ADDRESS = re.compile(r"(\*|[!-)+-?A-~]+)@[A-Za-z0-9.-]+")


class Role(StrEnum):
    """What a process can do."""

    PAGES = "pages"
    WEBHOOKS = "webhooks"
    POLLER = "poller"
    SENDER = "sender"


class Settings(BaseSettings):
    """Every setting, checked. Build it with `load`, which reports all problems at once."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=ENV_FILE,
        env_file_encoding="utf-8-sig",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
    )

    api_base_url: str | None = None  # the provider's BASE_URL, without /v1
    provider_environment: Literal["test", "live"] | None = None  # unset: by the host in api_base_url, else live
    api_email: str | None = Field(None, repr=False)  # the Email credential header
    api_access_token: SecretStr | None = None  # the AccessToken credential header
    api_max_rate: float = Field(5, gt=0, le=1000)  # calls per second over everything
    api_timeout: float = Field(30, gt=0, le=600)  # seconds for one call
    # Or postgresql+psycopg://...; its password must not be in any repr.
    database_url: str = Field("sqlite:///data/tracking.db", repr=False)
    public_url: str | None = None  # where the provider reaches us; unset: no webhook is asked for
    # One or two secrets and one or several Fernet keys, comma separated; unset: made on first start, kept in the data
    # folder (SQLite alone).
    webhook_secret: SecretStr | None = None
    claims_key: SecretStr | None = None
    roles: Annotated[frozenset[Role], NoDecode] = frozenset(Role)  # what this process does
    # E-mail addresses, or *@example.com for all of a domain: operators may look and act, viewers look.
    operators: Annotated[frozenset[str] | None, NoDecode] = None
    viewers: Annotated[frozenset[str] | None, NoDecode] = None
    # Face value of an order above which a second operator approves it, as in 500 USD, 450 EUR; needs people to sign in.
    approval_above: Annotated[ApprovalLimit | None, NoDecode, BeforeValidator(read_limit)] = None
    balance_below: Annotated[BalanceThreshold | None, NoDecode, BeforeValidator(read_threshold)] = None  # as in 500 USD
    sign_in_hours: float = Field(12, gt=0, le=720)  # after which somebody has to sign in again
    # Yes: an address counts although the provider does not say whether it was verified.
    trust_unverified_email: Literal["no", "yes"] = "no"
    allow_anyone: Literal["no", "yes"] = "no"  # yes: whoever reaches the pages sees all and does all without signing in
    poll_floor: float = Field(1, ge=0.01, le=3600)  # seconds: shortest wait between two looks at an order
    poll_ceiling: float = Field(900, ge=0.01, le=86400)  # seconds: longest wait between two looks
    # Relative: a wait weighs less for orders that took longer anyway; absolute: each second the same.
    poll_loss: Literal["relative", "absolute"] = "relative"
    # Promises by delivery type and number of cards, as in Links=10m,Links:100-=2h; the narrowest that fits wins.
    late_after: Annotated[tuple[LatePromise, ...], NoDecode, BeforeValidator(read_promises)] = ()
    reasons: Annotated[tuple[str, ...], NoDecode, BeforeValidator(read_presets)] = REASON_PRESETS  # to acknowledge for
    discover_every: float = Field(30, ge=0, le=86400)  # seconds between looks for orders placed elsewhere; 0: never
    keep_days: float | None = Field(None, gt=0, le=36_500)  # after which completed orders lose their logs; unset: never
    archive: Path | None = None  # folder of Parquet files they are written to before that; unset: they are only removed
    order_lines: int = Field(1000, ge=1, le=50_000)  # lines of a CSV that go into one order at the most
    # Orders a minute from elsewhere, and as many of ours, after a week that was followed; embedded sandbox only.
    sandbox_traffic: float = Field(0.2, ge=0, le=600)
    sandbox_scenario: str = "normal"  # how the embedded sandbox behaves

    @field_validator("roles", mode="before")
    @classmethod
    def _split_roles(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        names = [name.strip().lower() for name in value.split(",") if name.strip()]
        valid = [role.value for role in Role]
        if wrong := [name for name in names if name not in valid]:
            raise ValueError(f"does not know {', '.join(wrong)}; use some of {', '.join(valid)}")
        if not names:
            raise ValueError(f"names no role; use some of {', '.join(valid)}")
        return names

    @field_validator("operators", "viewers", mode="before")
    @classmethod
    def _split_addresses(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        names = [name.strip().lower() for name in value.split(",") if name.strip()]
        if wrong := [name for name in names if not _ADDRESS.fullmatch(name)]:
            each = "each must be an e-mail address, or *@example.com for all of a domain"
            raise ValueError(f"has {len(wrong)} of {len(names)} entries that cannot be used: {each}; comma separated")
        return names or None

    @field_validator("allow_anyone", "trust_unverified_email", mode="before")
    @classmethod
    def _blank_is_no(cls, value: Any) -> Any:
        return (value.strip().lower() or "no") if isinstance(value, str) else value

    @field_validator("api_base_url", "public_url")
    @classmethod
    def _absolute(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None or not value.strip():
            return None
        address = value.strip().rstrip("/")
        parts = urlsplit(address)
        if parts.scheme not in {"http", "https"} or not parts.hostname or re.search(r"\s", address):
            raise ValueError("must be an absolute address such as https://host.example")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("must hold no credentials, query or fragment")
        if (
            not startup.has_usable_port(value)
            or "//" in parts.path
            or not re.fullmatch(r"[\w./~%:@+,;=!$&'()*-]*", parts.path)
        ):
            raise ValueError("must be an address such as https://host.example:8443: its port or path cannot be right")
        if WEBHOOK_PATH.rstrip("/") in parts.path:
            raise ValueError(f"must end before {WEBHOOK_PATH}, which is put behind it for each order")
        return address.removesuffix("/v1").rstrip("/") if info.field_name == "api_base_url" else address

    @field_validator(
        "api_email", "api_access_token", "webhook_secret", "claims_key", "keep_days", "archive", mode="before"
    )
    @classmethod
    def _blank_is_unset(cls, value: Any) -> Any:
        return None if isinstance(value, str) and not value.strip() else value

    @field_validator("api_email", "api_access_token")
    @classmethod
    def _fits_a_header(cls, value: str | SecretStr | None) -> str | SecretStr | None:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value or ""
        if not all("!" <= letter <= "~" for letter in text.strip()):
            raise ValueError("cannot be sent in a header: it holds a space or a letter outside of ASCII; copy it again")
        return value

    @field_validator("database_url")
    @classmethod
    def _supported_database(cls, value: str) -> str:
        value = value.strip()
        if value.startswith("sqlite:///"):
            file = value.removeprefix("sqlite:///")
            if file in {"", ".", "/", ":memory:"} or file.endswith("/"):
                raise ValueError("must name a file, as in sqlite:///data/tracking.db")
            if "?" in file or file.startswith("~"):
                raise ValueError("must be the whole path of a file: neither ? nor ~ has a meaning here")
        elif not value.startswith("postgresql+psycopg://"):
            raise ValueError("must begin with sqlite:/// or postgresql+psycopg://")
        elif not startup.has_usable_port(value) or urlsplit(value).netloc.count("@") > 1:
            raise ValueError("cannot be parsed: write @ : / ? # of a password as %40 %3A %2F %3F %23")
        return value

    @field_validator("webhook_secret")
    @classmethod
    def _strong_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        parts = _split_secrets(value)
        if not 1 <= len(parts) <= 2 or any(len(part) < 16 for part in parts):
            raise ValueError("must be one or two secrets of 16 characters or more, comma separated")
        return value

    @field_validator("claims_key")
    @classmethod
    def _all_keys(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not all(_is_key(part) for part in _split_secrets(value)):
            raise ValueError(f"must be one or several Fernet keys, comma separated; {MAKE_A_KEY} makes one")
        return value

    # The last one of those before, as pydantic begins with it.
    @field_validator("*", mode="before")
    @classmethod
    def _without_quotes(cls, value: Any) -> Any:
        text = value.strip() if isinstance(value, str) else ""
        if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
            raise ValueError("is in quotation marks, which would be a part of it: leave them out")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = []
        if self.api_base_url and not (self.api_email and self.api_access_token):
            problems.append("TRACKING_API_BASE_URL needs TRACKING_API_EMAIL and TRACKING_API_ACCESS_TOKEN beside it")
        if not self.api_base_url and (self.api_email or self.api_access_token):
            problems.append("credentials are set, but TRACKING_API_BASE_URL is not: set it, or unset the credentials")
        if self.poll_floor > self.poll_ceiling:
            problems.append("TRACKING_POLL_FLOOR is above TRACKING_POLL_CEILING")
        if self.public_url and len(self.public_url) + len(WEBHOOK_PATH) + 43 > MAX_WEBHOOK_ADDRESS:
            problems.append("TRACKING_PUBLIC_URL is too long: a webhook address holds at most 500 characters")
        local = [startup.is_local_address(address or "") for address in (self.public_url, self.api_base_url)]
        if self.public_url and self.api_base_url and local == [True, False]:
            problems.append("TRACKING_PUBLIC_URL is on this machine: the provider cannot reach it; unset it, or name")
            problems[-1] += " an address that other machines reach"
        if self.archive and self.keep_days is None:
            problems.append("TRACKING_ARCHIVE needs TRACKING_KEEP_DAYS beside it, which says what is old enough")
        if self.asks_to_sign_in and self.allow_anyone == "yes":
            lists = "TRACKING_OPERATORS and TRACKING_VIEWERS, which ask people to sign in"
            problems.append(f"TRACKING_ALLOW_ANYONE=yes contradicts {lists}: unset the one or the others")
        shared = self.public_url is not None and not self.database_url.startswith("sqlite:///")
        if shared and self.webhook_secret is None and self.roles & {Role.WEBHOOKS, Role.SENDER}:
            problems.append(
                "TRACKING_WEBHOOK_SECRET must be set, the same for every process, where TRACKING_PUBLIC_URL is set,"
                " TRACKING_DATABASE_URL is PostgreSQL and TRACKING_ROLES has webhooks or sender: left to themselves,"
                " two machines would make two secrets, and one refuse what the other asked for"
            )
        if problems:
            raise ValueError("\n".join(problems))
        return self

    @property
    def asks_to_sign_in(self) -> bool:
        """Whether the pages are shown only to people who have signed in."""
        return bool(self.operators or self.viewers)

    @property
    def approval_limit(self) -> ApprovalLimit | None:
        """The approval limit that is in force: none where nobody signs in, as nobody is a proven second person."""
        return self.approval_above if self.asks_to_sign_in else None

    @property
    def embedded_sandbox(self) -> bool:
        """Whether there is no provider to talk to, so that the simulated one is used."""
        return self.api_base_url is None

    @property
    def data_folder(self) -> Path:
        """Where files beside the database live: its folder on SQLite, `data` elsewhere."""
        if self.database_url.startswith("sqlite:///"):
            return Path(self.database_url.removeprefix("sqlite:///")).parent
        return Path("data")

    def webhook_secrets(self) -> tuple[str, ...]:
        """The secrets to verify with, the first one also to make addresses with.

        Makes and keeps one (mode 600) where none is set, so that addresses survive a restart; raises SettingsError
        where that cannot be read or written.
        """
        if self.webhook_secret is not None:
            return _split_secrets(self.webhook_secret)
        path = self.data_folder / "webhook.secret"
        stored = _stored_secret(path, "TRACKING_WEBHOOK_SECRET", secrets.token_urlsafe(32))
        if len(stored) < 16:
            message = f"{path} holds no secret: delete it for a new one"
            raise SettingsError([Problem("TRACKING_WEBHOOK_SECRET", message)])
        return (stored,)

    def claims_keys(self) -> tuple[str, ...]:
        """The keys that claim data is encrypted with: the first seals, all of them open.

        Where none is set one is made and kept (mode 600) beside the SQLite file. On PostgreSQL there is none then: it
        would be another one on each machine. Raises SettingsError where it cannot be read or written.
        """
        if self.claims_key is not None:
            return _split_secrets(self.claims_key)
        if not self.database_url.startswith("sqlite:///"):
            return ()
        path = self.data_folder / "claims.key"
        stored = _stored_secret(path, "TRACKING_CLAIMS_KEY", _new_key())
        if not _is_key(stored):
            message = f"{path} holds no key: restore it from a backup; a new one cannot decrypt what was stored before"
            raise SettingsError([Problem("TRACKING_CLAIMS_KEY", message)])
        return (stored,)


def _split_secrets(secret: SecretStr) -> tuple[str, ...]:
    return tuple(part.strip() for part in secret.get_secret_value().split(","))


# A Fernet key by its definition: to import the library that uses it takes a part of a start that somebody waits for.


def _new_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def _is_key(text: str) -> bool:
    try:
        return len(base64.urlsafe_b64decode(text)) == KEY_BYTES
    except ValueError:
        return False


def _stored_secret(path: Path, variable: str, new: str) -> str:
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


def load(**overrides: Any) -> Settings:
    """Load and validate the settings, from the environment and from `.env`, or the file that `_env_file` names.

    Raises SettingsError with every problem, each naming the variable and what to do. Values are never repeated. What
    only looks wrong is logged, once in a process.
    """
    path = Path(overrides.setdefault("_env_file", ENV_FILE))
    lines, fields = startup.read_env_file(path), list(Settings.model_fields)
    names = {*os.environ, *(line.key or "" for line in lines)}
    problems = [*startup.dropped_lines(path, lines, PREFIX), *startup.misspelt_names(names, PREFIX, fields)]
    try:
        loaded = Settings(**overrides)
    except ValidationError as exc:
        raise SettingsError(problems + _problems(exc) + _contradictions(exc, overrides)) from None
    if problems:
        raise SettingsError(problems)
    ignored = (*startup.unread_lines(lines, PREFIX), *startup.names_without_effect(names, lines, PREFIX, fields))
    for doubt in (*ignored, *_doubts(loaded)):
        _warn_once(doubt)
    return loaded


def _doubts(settings: Settings) -> Iterator[str]:
    if settings.approval_above and settings.approval_limit is None:
        yield APPROVAL_OFF
    for name, address in (("API_BASE_URL", settings.api_base_url), ("PUBLIC_URL", settings.public_url)):
        if address and address.startswith("http:") and not startup.is_local_address(address):
            yield f"{PREFIX}{name} is http: secrets can be read on the way; use https"


@functools.cache
def _warn_once(text: str) -> None:
    log.warning("%s", text)


@functools.cache
def process_settings() -> Settings:
    """The settings this process was started with, read once: what the launcher checked is what the pages go by."""
    return load()


def _contradictions(error: ValidationError, overrides: dict[str, Any]) -> list[Problem]:
    """The contradictions among the right fields, the others unset: pydantic looks only where all are right."""
    wrong = {str(detail["loc"][0]) for detail in error.errors(include_input=False) if detail["loc"]}
    if not wrong:
        return []
    unset = {name: Settings.model_fields[name].get_default() for name in wrong}
    try:
        Settings(**(overrides | unset))
    except ValidationError as exc:
        names = [f"TRACKING_{name.upper()}" for name in wrong]
        return [problem for problem in _problems(exc) if not any(name in problem.message for name in names)]
    return []


def _problems(error: ValidationError) -> list[Problem]:
    problems = []
    for detail in error.errors(include_input=False, include_url=False, include_context=False):
        where = f"TRACKING_{str(detail['loc'][0]).upper()}" if detail["loc"] else ""
        message = detail["msg"].removeprefix("Value error, ")
        problems += [Problem(where, part) for part in message.splitlines()]
    return problems
