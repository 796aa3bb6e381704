import os
import re
import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from pydantic import ValidationError

from tracking.errors import SettingsError
from tracking.orders.policy.promises import LatePromise
from tracking.settings.loading import _warn_once, load, process_settings
from tracking.settings.roles import Role
from tracking.settings.secret_texts import is_key, new_key
from tracking.settings.values import Settings

SECRET = "hush-hush-hush-hush"


def problems(**given: object) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(**given)
    return [str(problem) for problem in caught.value.problems]


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = load()
    assert (settings.api_base_url, settings.api_email, settings.api_access_token) == (None, None, None)
    assert (settings.api_max_rate, settings.api_timeout) == (5, 30)
    assert settings.database_url == "sqlite:///data/tracking.db"
    assert (settings.public_url, settings.webhook_secret) == (None, None)
    assert settings.roles == {Role.PAGES, Role.WEBHOOKS, Role.POLLER, Role.SENDER}
    assert (settings.poll_floor, settings.poll_ceiling, settings.discover_every) == (1, 900, 30)
    assert settings.embedded_sandbox


def test_what_is_wrong_with_a_value_is_said_in_plain_words() -> None:
    given = {"allow_anyone": "maybe", "log_level": "loud", "api_max_rate": "much", "order_lines": "1.5"}
    assert problems(**given, api_timeout=0, poll_floor=4000, discover_every=-1, sandbox_traffic="nan") == [
        "TRACKING_API_MAX_RATE: must be a number",
        "TRACKING_API_TIMEOUT: must be more than 0",
        "TRACKING_ALLOW_ANYONE: must be no or yes",
        "TRACKING_POLL_FLOOR: must be 3600 or less",
        "TRACKING_DISCOVER_EVERY: must be 0 or more",
        "TRACKING_ORDER_LINES: must be a whole number",
        "TRACKING_SANDBOX_TRAFFIC: must be a finite number",
        "TRACKING_LOG_LEVEL: must be debug, info, warning or error",
    ]


def test_every_setting_of_the_contract_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "API_BASE_URL": "https://api.example/v1/",
        "API_EMAIL": "us@example.com",
        "API_ACCESS_TOKEN": SECRET,
        "API_MAX_RATE": "2.5",
        "API_TIMEOUT": "7",
        "DATABASE_URL": "postgresql+psycopg://db.example/tracking",
        "PUBLIC_URL": "https://console.example/",
        "WEBHOOK_SECRET": f"{SECRET}, {SECRET}-old",
        "ROLES": " Poller,sender ",
        "POLL_FLOOR": "3",
        "POLL_CEILING": "60",
        "DISCOVER_EVERY": "0",
    }
    for name, value in given.items():
        monkeypatch.setenv(f"TRACKING_{name}", value)
    settings = load()
    assert settings.api_base_url == "https://api.example"
    assert settings.api_access_token is not None
    assert settings.api_access_token.get_secret_value() == SECRET
    assert (settings.api_max_rate, settings.api_timeout) == (2.5, 7)
    assert settings.public_url == "https://console.example"
    assert settings.webhook_secrets() == (SECRET, f"{SECRET}-old")
    assert settings.roles == {Role.POLLER, Role.SENDER}
    assert (settings.poll_floor, settings.poll_ceiling, settings.discover_every) == (3, 60, 0)
    assert not settings.embedded_sandbox


def test_the_file_env_is_read_too(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("TRACKING_API_MAX_RATE=9\nOTHER=1\n")
    assert load().api_max_rate == 9


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("TRACKING_API_MAX_RATE=9\n".encode("utf-16"), ".env: is in UTF-16: save it as UTF-8"),
        ("TRACKING_API_MAX_RATE=9\n".encode("utf-16-le"), ".env: is in UTF-16: save it as UTF-8"),
        ("# one\n# für Müller\n".encode("cp1252"), ".env: is not in UTF-8, see line 2: save it as UTF-8"),
        (
            b"TRACKING_ROLES=pages\nTRACKING_DATABASE_URL=sqlite:///${WHERE}/x.db\n",
            ".env, line 2: stands for what ${WHERE} is, which is not set: set it, or write the value itself",
        ),
        (
            b'TRACKING_DATABASE_URL="sqlite:///C:\\data\\new.db"\n',
            (
                ".env, line 1: has a backslash in quotation marks, which becomes a line break or a tab: leave the "
                "marks out"
            ),
        ),
    ],
)
def test_a_file_in_another_encoding_is_told(data: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(data)
    assert problems() == [said]


def test_what_a_line_stands_for_is_read_and_a_file_with_another_ending_or_a_folder_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _warn_once.cache_clear()
    (tmp_path / ".env.txt").write_text("RATE=9\nTRACKING_API_MAX_RATE=${RATE}\nTRACKING_API_TIMEOUT=${NO:-7}\n")
    assert load().api_max_rate == 5
    assert [record.getMessage() for record in caplog.records] == [".env.txt is not read: call it .env"]
    (tmp_path / ".env.txt").rename(tmp_path / ".env")
    assert (load().api_max_rate, load().api_timeout) == (9, 7)
    (tmp_path / ".env").unlink()
    (tmp_path / ".env").mkdir()
    assert problems() == [".env: is a folder: put a file there, or take it away"]


def test_a_file_with_a_byte_order_mark_is_read_from_its_first_name_on(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes("TRACKING_API_MAX_RATE=9\n".encode("utf-8-sig"))
    assert load().api_max_rate == 9


def test_a_file_that_cannot_be_read_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    (tmp_path / ".env").write_text("")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert problems() == [".env: cannot be read (Permission denied)"]


def test_a_line_that_would_be_dropped_is_told_and_other_peoples_lines_are_not(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("what is this\n# TRACKING is on\nTRACKING_ROLES pages\nTRACKING_POLL_FLOOR\nA\n")
    assert problems() == [
        ".env, line 3: cannot be read: write TRACKING_NAME=value",
        ".env, line 4: cannot be read: write TRACKING_NAME=value",
    ]


def test_a_line_that_cannot_be_read_is_told_once_in_words_of_ours(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _warn_once.cache_clear()
    (tmp_path / ".env").write_text("A=1\nwhat is this\n")
    load()
    said = "line 2 of .env cannot be read and has no effect: write NAME=value"
    assert [record.getMessage() for record in caplog.records] == [said]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("TRACKING_OPERATOR", "TRACKING_OPERATORS"),
        ("TRACKING_API_BASEURL", "TRACKING_API_BASE_URL"),
        ("TRACKING_DATABASE_URI", "TRACKING_DATABASE_URL"),
        ("TRACKING_API_TOKEN", "TRACKING_API_ACCESS_TOKEN"),
        ("TRACKING_API_URL", "TRACKING_API_BASE_URL"),
        ("tracking_role", "TRACKING_ROLES"),
        ("TRAKCING_VIEWERS", "TRACKING_VIEWERS"),
        ("TRACKING_BASE_URL", "TRACKING_API_BASE_URL"),
        ("TRACKINGPOLL_FLOOR", "TRACKING_POLL_FLOOR"),
        ("TRACKING-POLL-FLOOR", "TRACKING_POLL_FLOOR"),
    ],
)
def test_a_name_that_is_nearly_one_of_ours_is_told_with_the_one_that_was_meant(
    name: str, meant: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(name, "x")
    assert problems() == [f"{name}: is no setting; did you mean {meant}?"]
    monkeypatch.delenv(name)
    (tmp_path / ".env").write_text(f"{name}=x\n")
    assert problems() == [f"{name}: is no setting; did you mean {meant}?"]


def test_what_a_cluster_says_of_a_service_with_our_name_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _warn_once.cache_clear()
    for name, value in {
        "TRACKING_PORT": "tcp://10.0.0.1:8501",
        "TRACKING_SERVICE_HOST": "10.0.0.1",
        "TRACKING_SERVICE_PORT_HTTP": "8501",
        "TRACKING_DATABASE_PORT": "tcp://10.0.0.2:5432",
        "TRACKING_DATABASE_PORT_5432_TCP_ADDR": "10.0.0.2",
    }.items():
        monkeypatch.setenv(name, value)
    assert load() is not None
    assert caplog.records == []
    monkeypatch.setenv("TRACKING_PORT", "8501")
    load()
    assert [record.message for record in caplog.records] == [
        "TRACKING_PORT is no setting of this console and has no effect"
    ]


@pytest.mark.parametrize("name", ["API_EMAIL", "DATABASE_URL", "OPERATORS", "POLL_FLOOR"])
def test_quotation_marks_that_nothing_takes_off_are_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"TRACKING_{name}", "'x'")
    assert problems()[0].startswith(f"TRACKING_{name}: is in quotation marks")


def test_a_misspelt_name_hides_no_wrong_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKING_OPERATOR", "x")
    assert [problem.split(":")[0] for problem in problems(api_max_rate=0)] == [
        "TRACKING_OPERATOR",
        "TRACKING_API_MAX_RATE",
    ]


def test_what_may_be_another_programs_is_only_warned_of_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _warn_once.cache_clear()
    monkeypatch.setenv("TRACKING_COOKIE_DOMAIN", "example.com")
    monkeypatch.setenv("TRACKING_DATABASE_HOST", "db.example.com")
    monkeypatch.setenv("TRACKING_OPERATOR", "")  # set to nothing: somebody says that it is not ours
    (tmp_path / ".env").write_text("HTTPS_PROXY=http://x\nTRACKING_POLL_FLOOR=2\nTRACKING_POLL_FLOOR=3\n")
    assert load().poll_floor == load().poll_floor == 3
    assert [record.message for record in caplog.records] == [
        "TRACKING_COOKIE_DOMAIN is no setting of this console and has no effect",
        "TRACKING_DATABASE_HOST is no setting of this console and has no effect",
        "HTTPS_PROXY has no effect in .env: set it in the environment",
        "TRACKING_POLL_FLOOR is set 2 times in .env: the last one counts",
    ]


def test_addresses_that_can_be_read_on_the_way_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    _warn_once.cache_clear()
    provider = {"api_email": "us@example.com", "api_access_token": SECRET}
    load(api_base_url="http://127.0.0.1:8700", public_url="http://localhost:8600", **provider)
    assert caplog.records == []
    load(api_base_url="http://api.example", public_url="http://console.example", **provider)
    assert [record.message.partition(" ")[0] for record in caplog.records] == [
        "TRACKING_API_BASE_URL",
        "TRACKING_PUBLIC_URL",
    ]


def test_blank_values_count_as_unset() -> None:
    settings = load(api_base_url=" ", api_email="", api_access_token=" ", public_url="", webhook_secret="")
    assert settings == load()


def test_all_wrong_fields_are_told_at_once_each_with_its_variable() -> None:
    told = problems(api_max_rate=0, api_timeout="soon", database_url="mysql://x", roles="pages,chef", poll_floor=-1)
    names = [re.split(r":", problem)[0] for problem in told]
    assert sorted(names) == [
        "TRACKING_API_MAX_RATE",
        "TRACKING_API_TIMEOUT",
        "TRACKING_DATABASE_URL",
        "TRACKING_POLL_FLOOR",
        "TRACKING_ROLES",
    ]


def test_all_contradictions_are_told_at_once() -> None:
    told = problems(
        api_base_url="https://api.example", poll_floor=10, poll_ceiling=5, public_url=f"https://x.example/{'p' * 450}"
    )
    assert len(told) == 3
    assert told[0].endswith("TRACKING_API_BASE_URL needs TRACKING_API_EMAIL and TRACKING_API_ACCESS_TOKEN beside it")


def test_a_wrong_field_hides_no_contradiction() -> None:
    told = problems(api_base_url="https://api.example", api_max_rate="abc", poll_floor=10, poll_ceiling=5)
    assert len(told) == 3
    assert told[0].startswith("TRACKING_API_MAX_RATE: ")
    assert "TRACKING_API_BASE_URL needs TRACKING_API_EMAIL" in told[1]
    assert told[2] == "TRACKING_POLL_FLOOR is above TRACKING_POLL_CEILING"


def test_nothing_is_said_of_what_a_wrong_field_may_have_been_meant_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKING_API_BASE_URL", "api.example")
    monkeypatch.setenv("TRACKING_WEBHOOK_SECRET", "short")
    told = problems(
        api_email="us@example.com",
        api_access_token=SECRET,
        poll_floor=-1,
        poll_ceiling=0.5,
        database_url="postgresql+psycopg://h/d",
        public_url="https://console.example",
    )
    names = sorted(problem.split(":")[0] for problem in told)
    assert names == ["TRACKING_API_BASE_URL", "TRACKING_POLL_FLOOR", "TRACKING_WEBHOOK_SECRET"]


@pytest.mark.parametrize(
    ("changed", "needed"),
    [
        ({}, True),
        ({"roles": "webhooks"}, True),
        ({"roles": "sender,pages"}, True),
        ({"roles": "pages,poller"}, False),
        ({"public_url": ""}, False),
        ({"webhook_secret": SECRET}, False),
        ({"database_url": "sqlite:///data/tracking.db"}, False),
    ],
)
def test_machines_that_share_a_store_are_told_to_share_a_secret(changed: dict[str, str], needed: bool) -> None:
    given = {"database_url": "postgresql+psycopg://h/d", "public_url": "https://console.example"} | changed
    if not needed:
        assert load(**given).public_url in {None, "https://console.example"}
        return
    [told] = problems(**given)
    assert told.startswith("TRACKING_WEBHOOK_SECRET must be set, the same for every process")


def test_the_sandbox_is_there_where_it_is_asked_for_or_nothing_of_a_provider_is_set() -> None:
    asked = load(api_base_url=" Sandbox ", api_email="us@example.com", public_url="http://127.0.0.1:8600")
    assert (asked.embedded_sandbox, asked.api_base_url) == (True, "sandbox")
    assert load().embedded_sandbox
    for given in ({"api_base_url": "sandbox"}, {}):
        [problem] = problems(provider_environment="live", **given)
        assert problem.startswith("TRACKING_PROVIDER_ENVIRONMENT is set without a provider")


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("https://x.example/v1", "https://x.example"),
        ("https://x.example/v1/", "https://x.example"),
        ("https://x.example/V1", "https://x.example"),
        ("https://x.example/v1/gift-cards", "https://x.example/v1/gift-cards"),
    ],
)
def test_only_the_providers_address_loses_its_version(given: str, base: str) -> None:
    settings = load(public_url=given, api_base_url=given, api_email="us@example.com", api_access_token=SECRET)
    assert (settings.public_url, settings.api_base_url) == (given.rstrip("/"), base)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"api_email": "us@example.com", "api_access_token": SECRET}, "TRACKING_API_BASE_URL is not"),
        ({"api_access_token": f"{SECRET} \N{LATIN SMALL LETTER O WITH DIAERESIS}"}, "cannot be sent in a header"),
        ({"api_base_url": "api.example"}, "must be an absolute address"),
        ({"api_base_url": "ftp://api.example"}, "must be an absolute address"),
        ({"public_url": f"https://us:{SECRET}@console.example"}, "must hold no credentials"),
        ({"public_url": f"https://console.example/?key={SECRET}"}, "must hold no credentials"),
        ({"public_url": "https://console.example:port"}, "its port or path cannot be right"),
        ({"public_url": "https://console.example:99999"}, "its port or path cannot be right"),
        ({"public_url": "https://https://console.example"}, "its port or path cannot be right"),
        ({"public_url": "https://console .example"}, "must be an absolute address"),
        ({"public_url": "https://<host>/console"}, "must be an absolute address"),
        ({"public_url": "https://console..example"}, "must be an absolute address"),
        ({"public_url": "https://console.example\\console"}, "must be an absolute address"),
        ({"api_base_url": "https://api.example/v1/Orders"}, "must end before /v1"),
        ({"public_url": "https://console.example/webhooks/fulfillment/"}, "must end before /webhooks/fulfillment/"),
        (
            {
                "public_url": "http://127.0.0.1:8600",
                "api_base_url": "https://api.example",
                "api_email": "us@example.com",
                "api_access_token": SECRET,
            },
            "TRACKING_PUBLIC_URL is on this machine",
        ),
        ({"api_max_rate": "nan"}, "finite number"),
        ({"api_timeout": "inf"}, "finite number"),
        ({"database_url": "sqlite:///"}, "must name a file"),
        ({"database_url": "sqlite:///data/"}, "must name a file"),
        ({"database_url": "sqlite:///:memory:"}, "must name a file"),
        ({"database_url": "sqlite:///x.db?mode=ro"}, "must be the whole path of a file"),
        ({"database_url": "sqlite:///~/x.db"}, "must be the whole path of a file"),
        ({"database_url": "sqlite://x.db"}, "must begin with"),
        ({"database_url": f"postgresql+psycopg://us:{SECRET}@host:port/name"}, "cannot be parsed"),
        ({"database_url": f"postgresql+psycopg://us:{SECRET}/#@host/name"}, "cannot be parsed"),
        ({"database_url": f"postgresql+psycopg://us:{SECRET}@@host/name"}, "cannot be parsed"),
        ({"roles": " , "}, "names no role"),
        ({"webhook_secret": "short"}, "16 characters"),
        ({"webhook_secret": f"{SECRET},{SECRET},{SECRET}"}, "one or two"),
        ({"webhook_secret": f"{SECRET},"}, "one or two"),
    ],
)
def test_a_wrong_setting_is_told_with_what_to_do_and_without_its_secret(given: dict[str, str], said: str) -> None:
    told = problems(**given)
    assert any(said in problem for problem in told)
    assert SECRET not in " ".join(told)


def test_the_password_of_the_database_is_in_no_repr() -> None:
    settings = load(database_url=f"postgresql+psycopg://us:{SECRET}@host/name")
    assert SECRET not in repr(settings) + str(settings)
    assert SECRET in settings.database_url


def test_secrets_are_in_no_repr() -> None:
    settings = load(
        api_base_url="https://api.example", api_email="us@example.com", api_access_token=SECRET, webhook_secret=SECRET
    )
    assert SECRET not in repr(settings) + str(settings) + str(settings.model_dump())


def test_what_pydantic_itself_says_of_a_wrong_value_does_not_repeat_it() -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(webhook_secret="short-secret")
    assert "short-secret" not in str(caught.value)


def test_the_data_folder_is_beside_the_sqlite_file_and_data_elsewhere(tmp_path: Path) -> None:
    assert load(database_url=f"sqlite:///{tmp_path}/deep/t.db").data_folder == tmp_path / "deep"
    assert load(database_url="postgresql+psycopg://h/d").data_folder == Path("data")
    assert load().data_folder == Path("data")


def test_a_secret_is_made_once_kept_with_mode_600_and_read_again(tmp_path: Path) -> None:
    def kept() -> Settings:
        return load(database_url=f"sqlite:///{tmp_path}/deep/t.db")

    [first] = kept().webhook_secrets()
    file = tmp_path / "deep" / "webhook.secret"
    assert kept().webhook_secrets() == (first,)
    assert len(first) >= 32
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["webhook.secret"]


def test_processes_that_start_at_once_keep_the_same_secret() -> None:
    code = "from tracking.settings.loading import load; print(load().webhook_secrets()[0])"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    started = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(2)
    ]
    secrets = {process.communicate()[0].strip() for process in started}
    assert len(secrets) == 1
    assert len(secrets.pop()) >= 32


def test_a_kept_secret_that_is_cut_is_told_and_not_used(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "webhook.secret").write_text("cut")
    with pytest.raises(SettingsError, match="delete it for a new one"):
        load().webhook_secrets()


def test_the_claims_key_is_made_once_on_sqlite_and_never_on_a_shared_server(tmp_path: Path) -> None:
    kept = load(database_url=f"sqlite:///{tmp_path}/deep/t.db")
    [first] = kept.claims_keys()
    file = tmp_path / "deep" / "claims.key"
    assert kept.claims_keys() == (first,)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert Fernet(first)
    assert load(database_url="postgresql+psycopg://h/d").claims_keys() == ()
    assert not (tmp_path / "data").exists()


def test_several_claims_keys_are_read_in_their_order() -> None:
    new, old = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    settings = load(claims_key=f" {new}, {old} ")
    assert settings.claims_keys() == (new, old)
    assert new not in repr(settings) + str(settings.model_dump())
    assert load(claims_key=" ").claims_key is None


@pytest.mark.parametrize("given", [SECRET, f"{'k' * 43}=,{SECRET}", f"{'k' * 43}=,"])
def test_what_is_no_claims_key_is_told_with_how_to_make_one(given: str) -> None:
    [told] = problems(claims_key=given)
    assert "Fernet.generate_key()" in told
    assert SECRET not in told


def test_a_kept_claims_key_that_is_damaged_is_told_and_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "claims.key").write_text("cut")
    with pytest.raises(SettingsError, match=r"TRACKING_CLAIMS_KEY: .* restore it from a backup"):
        load().claims_keys()


def test_stored_secrets_that_are_no_text_are_told_and_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("claims.key", "webhook.secret"):
        (tmp_path / "data" / name).write_bytes(b"\xff\xfe" + b"a" * 44)
    with pytest.raises(SettingsError, match="holds no key: restore it from a backup"):
        load().claims_keys()
    with pytest.raises(SettingsError, match="holds no secret: delete it for a new one"):
        load().webhook_secrets()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where the folder should be")
    with pytest.raises(SettingsError, match="TRACKING_WEBHOOK_SECRET: cannot be saved"):
        load().webhook_secrets()


# Who may come in


def test_the_lists_are_split_and_put_into_lower_case() -> None:
    settings = load(operators=" Ann@Example.com , *@OPS.example.com,\nann@example.com\r\n", viewers="bob@localhost")
    assert settings.operators == frozenset({"ann@example.com", "*@ops.example.com"})
    assert settings.viewers == frozenset({"bob@localhost"})
    assert settings.asks_to_sign_in


def test_nobody_signs_in_unless_somebody_is_named() -> None:
    for settings in (load(), load(operators="", viewers=" , ")):
        assert not settings.asks_to_sign_in
        assert (settings.allow_anyone, settings.trust_unverified_email, settings.sign_in_hours) == ("no", "no", 12)
    assert load(viewers="bob@example.com").asks_to_sign_in


@pytest.mark.parametrize(
    "wrong",
    [
        "ann",
        "*",
        "ann@",
        "@example.com",
        "a*@example.com",
        "ann @example.com",
        "a@b@c",
        "*@*.example.com",
        "an\u017f@e.x",
    ],
)
def test_what_is_no_address_is_told_without_repeating_it(wrong: str) -> None:
    [told] = problems(operators=f"ok@example.com,{wrong}")
    assert told.startswith("TRACKING_OPERATORS: has 1 of 2 entries that cannot be used: each must be an e-mail address")


def test_letting_anyone_in_is_said_in_plain_words_and_not_beside_the_lists() -> None:
    assert load(allow_anyone=" YES ").allow_anyone == "yes"
    assert load(allow_anyone="").allow_anyone == "no"
    assert problems(allow_anyone="1")[0].startswith("TRACKING_ALLOW_ANYONE: ")
    [told] = problems(allow_anyone="yes", viewers="bob@example.com")
    assert told.startswith("TRACKING_ALLOW_ANYONE=yes contradicts TRACKING_OPERATORS and TRACKING_VIEWERS")


def test_the_settings_of_a_process_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    process_settings.cache_clear()
    monkeypatch.setenv("TRACKING_API_MAX_RATE", "7")
    assert process_settings().api_max_rate == 7
    monkeypatch.setenv("TRACKING_API_MAX_RATE", "8")
    assert process_settings().api_max_rate == 7
    process_settings.cache_clear()


@pytest.mark.parametrize(
    "text",
    [Fernet.generate_key().decode(), "A" * 43, "A" * 43 + "=", "A" * 44, "+/" * 22, "ä" * 44, ""],
    ids=["made", "cut", "padded", "too long", "other letters", "no letters", "empty"],
)
def test_what_counts_as_a_key_is_what_the_library_takes_for_one(text: str) -> None:
    try:
        Fernet(text)
    except ValueError:
        assert not is_key(text)
    else:
        assert is_key(text)


def test_a_made_key_is_one() -> None:
    assert Fernet(new_key()).encrypt(b"anything")


def test_promises_are_read_by_type_and_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKING_LATE_AFTER", " links=10m, Links:100-=2h ,Codes:5=1h30m,DigitalDelivery:2-4=45s,")
    assert load().late_after == (
        LatePromise("Links", 0, None, timedelta(minutes=10)),
        LatePromise("Links", 100, None, timedelta(hours=2)),
        LatePromise("Codes", 5, 5, timedelta(minutes=90)),
        LatePromise("DigitalDelivery", 2, 4, timedelta(seconds=45)),
    )


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("Links", "write TYPE=LENGTH or TYPE:FEWEST-MOST=LENGTH"),
        ("Links=10", "write TYPE=LENGTH"),
        ("Links:-5=10m", "write TYPE=LENGTH"),
        ("Parcels=10m", "use one of DigitalDelivery, Links, PhysicalShipment, Codes"),
        ("Links:9-3=10m", "the fewest cards come first"),
        ("Links=0s", "between a second and a year"),
        ("Links=999999999d", "between a second and a year"),
        ("Links=" + "999999999d" * 9, "between a second and a year"),
        ("Links=1m,links=2m", "sets two limits for the same orders of Links"),
    ],
)
def test_a_promise_that_cannot_be_read_is_told_with_what_to_write(
    monkeypatch: pytest.MonkeyPatch, text: str, advice: str
) -> None:
    monkeypatch.setenv("TRACKING_LATE_AFTER", text)
    [problem] = problems()
    assert problem.startswith("TRACKING_LATE_AFTER")
    assert advice in problem


def test_an_approval_limit_is_in_force_where_people_sign_in(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TRACKING_APPROVAL_ABOVE", " 500 USD, 450.50 EUR ")
    _warn_once.cache_clear()
    assert load().approval_limit is None
    assert "TRACKING_APPROVAL_ABOVE is not in force: nobody signs in here" in caplog.text
    monkeypatch.setenv("TRACKING_OPERATORS", "ann@example.com")
    assert str(load().approval_limit) == "500 USD, 450.50 EUR"
    monkeypatch.setenv("TRACKING_APPROVAL_ABOVE", "")
    assert load().approval_limit is None
    monkeypatch.setenv("TRACKING_APPROVAL_ABOVE", "1,500 USD")
    assert problems() == [
        "TRACKING_APPROVAL_ABOVE: is ambiguous: write amounts without a comma in them, as in 1500 USD, 1200 EUR"
    ]
