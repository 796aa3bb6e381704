import pytest

from tracking.app.environment import Environment, EnvironmentKind, environment_of
from tracking.settings.values import Settings

KEYS = {"api_email": "ops@example.com", "api_access_token": "token"}


def environment(address: str | None, **settings: str) -> Environment:
    keys = KEYS if address else {}
    return environment_of(Settings(_env_file=None, api_base_url=address, **keys, **settings))  # type: ignore[arg-type]


def test_without_an_address_it_is_the_simulated_provider() -> None:
    assert environment(None) == Environment(EnvironmentKind.SANDBOX, "simulated")


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ("127.0.0.1:8600", "TEST"),
        ("localhost:8600", "TEST"),
        ("sandbox.rewards.example.com", "TEST"),
        ("api-sandbox.example.com", "TEST"),
        ("rewards-uat2.example.com", "TEST"),
        ("rewards-api.example.com", "LIVE"),
        ("contest.example.com", "LIVE"),  # a word that only ends like one
        ("10.0.0.7", "LIVE"),
    ],
)
def test_what_does_not_plainly_say_that_it_is_a_test_is_live(host: str, kind: str) -> None:
    found = environment(f"https://{host}")
    assert (found.kind, found.host, found.is_live) == (kind, host.partition(":")[0], kind == "LIVE")


def test_the_setting_wins() -> None:
    assert environment("https://rewards-api.example.com", provider_environment="test").kind is EnvironmentKind.TEST
    assert environment("https://sandbox.example.com", provider_environment="live").is_live
