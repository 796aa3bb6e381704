"""Environment: tells a simulated provider from a test account and from one where orders cost money."""

import ipaddress
import re
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from tracking.settings.values import Settings

_OF_A_TEST = re.compile(
    r"(^|[.-])(test|testing|sandbox|sbx|stage|staging|stg|dev|demo|uat|qa|preprod|preview|mock)\d*([.-]|$)"
)


class EnvironmentKind(StrEnum):
    """Whether orders are real."""

    SANDBOX = "SANDBOX"
    TEST = "TEST"
    LIVE = "LIVE"


@dataclass(frozen=True, slots=True)
class Environment:
    """Which provider the console works with. `host` is where it is, "simulated" for the embedded sandbox."""

    kind: EnvironmentKind
    host: str

    @property
    def is_live(self) -> bool:
        """Whether an order may cost money: always, unless the address plainly is that of a test."""
        return self.kind is EnvironmentKind.LIVE


def environment_of(settings: Settings) -> Environment:
    """Tell the environment from the provider's address; TRACKING_PROVIDER_ENVIRONMENT wins where it is set."""
    if settings.embedded_sandbox:
        return Environment(EnvironmentKind.SANDBOX, "simulated")
    host = urlsplit(settings.api_base_url or "").hostname or ""
    if settings.provider_environment:
        return Environment(EnvironmentKind(settings.provider_environment.upper()), host)
    return Environment(EnvironmentKind.TEST if _is_of_a_test(host) else EnvironmentKind.LIVE, host)


def environment_label(settings: Settings) -> str:
    """Name the environment where that is not the live one, so that nobody takes what is simulated for real."""
    environment = environment_of(settings)
    return "" if environment.is_live else environment.kind.value


def _is_of_a_test(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or _OF_A_TEST.search(host) is not None
