"""Checks of the provider: are the credentials accepted, and does it show its catalogue. Two harmless reads."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx

from tracking.app.checks.results import CheckResult, Outcome
from tracking.app.embedded_sandbox import check_settings
from tracking.app.environment import environment_of
from tracking.errors import AccessDisabled, CredentialsRefused, NotSent, NotTheProvider, ProviderError, Throttled
from tracking.provider.client import Client
from tracking.provider.http.connection import check_environment
from tracking.settings.roles import Role
from tracking.settings.values import Settings

NAME, CATALOGUE = "provider", "catalogue"
LONGEST_CALL = 10.0  # seconds: somebody waits
_ADVICE: tuple[tuple[type[ProviderError], tuple[Outcome, str, str]], ...] = (
    (CredentialsRefused, (Outcome.FAILURE, "refused", "check TRACKING_API_EMAIL and TRACKING_API_ACCESS_TOKEN")),
    (AccessDisabled, (Outcome.FAILURE, "refused", "ask the provider why access is disabled for this account")),
    (NotSent, (Outcome.FAILURE, "unreachable", "check TRACKING_API_BASE_URL, and the proxy if there is one")),
    (NotTheProvider, (Outcome.FAILURE, "unreachable", "check TRACKING_API_BASE_URL, and what answers in between")),
    (Throttled, (Outcome.UNKNOWN, "asks to wait", "try again later")),
    (ProviderError, (Outcome.UNKNOWN, "unclear", "try again; if it stays, ask the provider")),
)


def check_provider(settings: Settings, _folder: Path) -> Iterator[CheckResult]:
    """Check credentials and catalogue. Raises SettingsError where no call can be made."""
    if not settings.roles & {Role.POLLER, Role.SENDER}:
        text = "is not called by this process: TRACKING_ROLES has neither poller nor sender"
        yield CheckResult(NAME, Outcome.OK, text)
        return
    if settings.embedded_sandbox:
        check_settings(settings)
        why = "TRACKING_API_BASE_URL asks for it" if settings.api_base_url else "nothing of a provider is set"
        yield CheckResult(NAME, Outcome.OK, f"is simulated by the embedded sandbox, as {why}: no order is real")
        return
    check_environment()
    yield from asyncio.run(ask_provider(settings))


async def ask_provider(settings: Settings, transport: httpx.AsyncBaseTransport | None = None) -> list[CheckResult]:
    """Read the balance and the catalogue; `transport` is httpx's own where it is None."""
    quick = settings.model_copy(update={"api_timeout": min(settings.api_timeout, LONGEST_CALL)})
    client = Client.from_settings(quick, transport=transport, record=lambda _: None)
    where = environment_of(settings)
    try:
        await client.balance()
    except ProviderError as exc:
        nothing = CheckResult(CATALOGUE, Outcome.UNKNOWN, "not read, as the provider gave no usable answer")
        return [_failure(NAME, exc), nothing]
    else:
        text = f"accepted: {where.host} takes the credentials; its orders count as {where.kind}"
        return [CheckResult(NAME, Outcome.OK, text), await _catalogue(client)]
    finally:
        await client.aclose()


async def _catalogue(client: Client) -> CheckResult:
    try:
        products = await client.products()
    except ProviderError as exc:
        return _failure(CATALOGUE, exc)
    if not products:
        text = "holds no product: orders would be refused, or are not checked before they are sent"
        return CheckResult(CATALOGUE, Outcome.WARNING, text, "ask the provider which products the account may order")
    return CheckResult(CATALOGUE, Outcome.OK, f"{len(products):,} product{'s' if len(products) > 1 else ''}")


def _failure(name: str, error: ProviderError) -> CheckResult:
    outcome, word, advice = next(rest for kind, rest in _ADVICE if isinstance(error, kind))
    if isinstance(error, NotSent) and error.status is not None:
        word = "no usable answer"  # somebody answered, and gave no token
    return CheckResult(name, outcome, f"{word}: {error}", advice)
