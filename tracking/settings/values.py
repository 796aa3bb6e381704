"""All settings with their defaults and bounds, and which go together and which do not."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from tracking.orders.policy.approval_limit import ApprovalLimit, read_limit
from tracking.orders.policy.balance_threshold import BalanceThreshold, read_threshold
from tracking.orders.policy.promises import LatePromise, read_promises
from tracking.orders.vocabulary import REASON_PRESETS, read_presets
from tracking.settings import secret_texts
from tracking.settings.addresses import (
    MAX_WEBHOOK_ADDRESS,
    SANDBOX,
    WEBHOOK_PATH,
    BaseUrl,
    Networks,
    People,
    ProviderUrl,
    StoreUrl,
    is_local_address,
)
from tracking.settings.alerts import Addresses, Quiet, RulesOff
from tracking.settings.roles import Role, Roles
from tracking.settings.secret_texts import ClaimsKeys, HeaderSecret, HeaderText, WebhookSecrets

PREFIX = "TRACKING_"
ENV_FILE = ".env"


def _read_word(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value


YesOrNo = Annotated[Literal["no", "yes"], BeforeValidator(_read_word)]


class Settings(BaseSettings):
    """Every setting, checked. Build it with `loading.load`, which reports all problems at once."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=ENV_FILE,
        env_file_encoding="utf-8-sig",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
    )

    api_base_url: ProviderUrl = None  # the provider's BASE_URL, without /v1; sandbox: the embedded one, as with nothing
    provider_environment: Literal["test", "live"] | None = None  # unset: by the host in api_base_url, else live
    api_email: HeaderText = Field(None, repr=False)  # the Email credential header
    api_access_token: HeaderSecret = None  # the AccessToken credential header
    api_max_rate: float = Field(5, gt=0, le=1000)  # calls per second over everything
    api_timeout: float = Field(30, gt=0, le=600)  # seconds for one call
    # Or postgresql+psycopg://...; its password must not be in any repr.
    database_url: StoreUrl = Field("sqlite:///data/tracking.db", repr=False)
    public_url: BaseUrl = None  # where the provider reaches us; unset: no webhook is asked for
    # One or two secrets and one or several Fernet keys, comma separated; unset: made on first start, kept in the data
    # folder (SQLite alone).
    webhook_secret: WebhookSecrets = None
    claims_key: ClaimsKeys = None
    roles: Roles = frozenset(Role)  # what this process does
    # E-mail addresses, or *@example.com for all of a domain: operators may look and act, viewers look.
    operators: People = None
    viewers: People = None
    # Face value of an order above which a second operator approves it, as in 500 USD, 450 EUR; needs people to sign in.
    approval_above: Annotated[ApprovalLimit | None, NoDecode, BeforeValidator(read_limit)] = None
    balance_below: Annotated[BalanceThreshold | None, NoDecode, BeforeValidator(read_threshold)] = None  # as in 500 USD
    # Addresses of services, as Apprise writes them, or the path of a file of them; unset: no alert leaves the console.
    alerts: Addresses = None
    alerts_quiet: Quiet = None  # as in 22:00-06:00 Europe/Berlin: what is not urgent waits until they end
    alerts_off: RulesOff = ()  # rules that send nothing, as in late,balance
    console_url: BaseUrl = None  # where people reach the pages, with its path: alerts link there
    sign_in_hours: float = Field(12, gt=0, le=720)  # after which somebody has to sign in again
    # Yes: an address counts although the provider does not say whether it was verified.
    trust_unverified_email: YesOrNo = "no"
    allow_anyone: YesOrNo = "no"  # yes: whoever reaches the pages sees all and does all without signing in
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
    # A TOML file of subscriptions, added at a start where there is none of their name; and the networks that outgoing
    # webhooks may lead to though they are not public, as in 10.0.0.0/8, or the word private.
    hooks: Path | None = None
    hooks_allow: Networks = ()
    order_lines: int = Field(1000, ge=1, le=50_000)  # lines of a CSV that go into one order at the most
    # Orders a minute from elsewhere, and as many of ours, after a week that was followed; embedded sandbox only.
    sandbox_traffic: float = Field(0.2, ge=0, le=600)
    sandbox_scenario: str = "normal"  # how the embedded sandbox behaves
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_read_word)] = "info"
    log_format: Annotated[Literal["text", "json"], BeforeValidator(_read_word)] = "text"  # json: an object on each line
    secrets_dir: Path | None = None  # folder of files that are called like settings and hold their values

    @model_validator(mode="before")
    @classmethod
    def _without_blanks(cls, values: Any) -> Any:
        """What is set to nothing is not set."""
        given = values.items() if isinstance(values, dict) else ()
        return {name: value for name, value in given if not (isinstance(value, str) and not value.strip())}

    # Pydantic begins with it, and only then looks at what each field has of its own.
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
        if not self.embedded_sandbox and not (self.api_email and self.api_access_token):
            problems.append("TRACKING_API_BASE_URL needs TRACKING_API_EMAIL and TRACKING_API_ACCESS_TOKEN beside it")
        if not self.api_base_url and (self.api_email or self.api_access_token):
            problems.append("credentials are set, but TRACKING_API_BASE_URL is not: set it, or unset the credentials")
        if self.embedded_sandbox and self.provider_environment:
            problems.append(
                "TRACKING_PROVIDER_ENVIRONMENT is set without a provider: set TRACKING_API_BASE_URL to its address,"
                " or unset it for the embedded sandbox"
            )
        if self.poll_floor > self.poll_ceiling:
            problems.append("TRACKING_POLL_FLOOR is above TRACKING_POLL_CEILING")
        if self.public_url and len(self.public_url) + len(WEBHOOK_PATH) + 43 > MAX_WEBHOOK_ADDRESS:
            problems.append("TRACKING_PUBLIC_URL is too long: a webhook address holds at most 500 characters")
        local = [is_local_address(address or "") for address in (self.public_url, self.api_base_url)]
        if self.public_url and not self.embedded_sandbox and local == [True, False]:
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
        """Whether the simulated provider is used: it was asked for, or nothing of a provider is set."""
        return self.api_base_url in {None, SANDBOX}

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
            return secret_texts.split(self.webhook_secret)
        return (secret_texts.stored_webhook_secret(self.data_folder),)

    def claims_keys(self) -> tuple[str, ...]:
        """The keys that claim data is encrypted with: the first seals, all of them open.

        Where none is set one is made and kept (mode 600) beside the SQLite file. On PostgreSQL there is none then: it
        would be another one on each machine. Raises SettingsError where it cannot be read or written.
        """
        if self.claims_key is not None:
            return secret_texts.split(self.claims_key)
        if not self.database_url.startswith("sqlite:///"):
            return ()
        return (secret_texts.stored_claims_key(self.data_folder),)
