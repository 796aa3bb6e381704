"""What `tracking check` says before a start; it makes and changes nothing."""

import asyncio
import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from tracking.app.backend import Backend
from tracking.app.checks import webhooks
from tracking.app.checks.console import check_console
from tracking.app.checks.outgoing import check_alerts
from tracking.app.checks.provider import ask_provider
from tracking.app.checks.results import CheckResult, Outcome
from tracking.app.checks.secret_files import check_secrets
from tracking.app.checks.store import check_space, check_store
from tracking.app.cli.main import app
from tracking.errors import SettingsError, StoreUnusable
from tracking.settings.loading import load
from tracking.storage.database import Database
from tracking.storage.migrations import HEAD
from tracking.storage.sqlite.driver import dbapi

SECRET = "hush-hush-hush-hush"
PROVIDER = {"api_base_url": "https://api.example", "api_email": "us@example.com", "api_access_token": SECRET}
ANSWER = {
    "/v1/Tokens": {"Value": "abc", "ExpiresIn": 3600},
    "/v1/AccountBalance": {"Available": 10},
    "/v1/Products": {"Data": []},
}


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder of a console, without settings."""
    for name in [name for name in os.environ if name.startswith(("TRACKING_", "STREAMLIT_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("tracking.app.checks.console.launcher", lambda: tmp_path / "dashboard.py")
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").touch()  # which makes it that of the console
    return tmp_path


def check(*options: str) -> Result:
    return CliRunner().invoke(app, ["check", *options])


def by_name(results: Any) -> dict[str, CheckResult]:
    return {result.name: result for result in results}


def outcomes(results: Any) -> dict[str, str]:
    return {result.name: result.outcome.value for result in results}


def test_alerts_that_cannot_be_sent_are_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert outcomes(check_alerts(load(), folder)) == {"alerts": "ok"}
    (folder / "services.txt").write_text("json://127.0.0.1:9/kanari\n")
    monkeypatch.setenv("TRACKING_ALERTS", "services.txt")
    [usable, without_links] = check_alerts(load(), folder)
    assert (usable.text, without_links.outcome) == ("1 service: json; `tracking alerts test` tries them", "warning")
    (folder / "services.txt").write_text("nothing://kanari\n")
    [said] = [each for each in json.loads(check("--json").stdout) if each["name"] == "alerts"]
    assert said["outcome"] == "failure"
    assert "kanari" not in repr(said)


def test_a_file_of_outgoing_webhooks_is_checked_and_ends_a_start(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKING_HOOKS", "hooks.toml")
    wrong = {None: "cannot be read", "[hooks": "no TOML", '[[hooks]]\nname="a"\nurl="http://x.example"': "URL"}
    for text, words in wrong.items():
        if text is not None:
            (folder / "hooks.toml").write_text(text)
        [said] = [each for each in json.loads(check("--json").stdout) if each["name"] == "outgoing webhooks"]
        assert (said["outcome"], words in said["text"]) == ("failure", True), said
    with pytest.raises(SettingsError, match="TRACKING_HOOKS"):
        Backend(load())
    (folder / "hooks.toml").write_text('[[hooks]]\nname="a"\nurl="https://x.example"')
    assert "1 subscription in hooks.toml can be used" in check("--json").stdout


def test_with_nothing_set_all_is_well_and_nothing_is_made(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMLIT_SERVER_ADDRESS", "127.0.0.1")
    monkeypatch.setenv("STREAMLIT_SERVER_PORT", "1")
    answer = check("--json")
    assert answer.exit_code == 0, answer.output
    results = {result["name"]: result["outcome"] for result in json.loads(answer.stdout)}
    names = (
        "settings",
        "database",
        "database writes",
        "disk",
        "webhook secret",
        "claims key",
        "provider",
        "console",
        "API",
    )
    assert results == dict.fromkeys((*names, "webhook address", "alerts", "outgoing webhooks"), "ok")
    assert [each.name for each in folder.iterdir()] == [".env"]
    table = check().stdout
    assert "simulated by the embedded sandbox" in " ".join(table.split())


def test_wrong_settings_are_listed_with_exit_2_and_their_warnings_without(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKING_WEBHOOK_SECRET", "short-secret")
    monkeypatch.setenv("TRACKING_POLL_FLOOR", "-1")
    answer = check("--json")
    assert answer.exit_code == 2
    failures = [result["text"] for result in json.loads(answer.stdout) if result["outcome"] == "failure"]
    assert [text.partition(":")[0] for text in failures] == ["TRACKING_WEBHOOK_SECRET", "TRACKING_POLL_FLOOR"]
    assert {result["outcome"] for result in json.loads(answer.stdout)} == {"failure", "not known"}
    assert "short-secret" not in answer.output
    for name in ("WEBHOOK_SECRET", "POLL_FLOOR"):
        monkeypatch.delenv(f"TRACKING_{name}")
    monkeypatch.setenv("TRACKING_COOKIE_DOMAIN", "x")
    [first, *_] = json.loads(check("--json").stdout)
    assert (first["outcome"], first["text"].partition(" ")[0]) == ("warning", "TRACKING_COOKIE_DOMAIN")
    (folder / "data").write_text("a file where the folder should be")
    assert check().exit_code == 1


def at_revision(file: Path, revision: str) -> None:
    connection = dbapi.connect(file)
    connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    connection.commit()
    connection.close()


def test_a_database_of_each_age_is_told_and_left_as_it_is(folder: Path, migrated_file: Path) -> None:
    file = folder / "tracking.db"
    settings = load(database_url=f"sqlite:///{file}")
    shutil.copy(migrated_file, file)
    assert by_name(check_store(settings, folder))["database"].outcome is Outcome.OK
    at_revision(file, "0009")
    before = file.read_bytes()
    told = by_name(check_store(settings, folder))["database"]
    assert told.outcome is Outcome.WARNING
    assert f"at revision 0009; the next start of the console migrates it to {HEAD}" in told.text
    assert file.read_bytes() == before
    at_revision(file, "9999")
    with pytest.raises(StoreUnusable, match="from a newer version"):
        list(check_store(settings, folder))


def test_a_database_that_another_process_has_locked_is_a_warning(
    folder: Path, migrated_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tracking.app.checks.store.LOCK_MILLISECONDS", 20)
    file = folder / "tracking.db"
    shutil.copy(migrated_file, file)
    settings = load(database_url=f"sqlite:///{file}")
    other = dbapi.connect(file, isolation_level=None)
    other.execute("PRAGMA journal_mode=WAL")
    assert "database lock" not in outcomes(check_store(settings, folder))
    other.execute("BEGIN EXCLUSIVE")
    result = by_name(check_store(settings, folder))["database lock"]
    assert (result.outcome, result.text) == (Outcome.WARNING, "locked by another process, for longer than 0.02 s")
    other.execute("ROLLBACK")
    assert "database lock" not in outcomes(check_store(settings, folder))
    other.close()


@pytest.mark.postgres
def test_a_server_is_asked_for_its_revision_and_its_permissions(
    postgres_store: Database, new_postgres_url: Callable[[], str], folder: Path
) -> None:
    told = outcomes(check_store(load(database_url=postgres_store.url), folder))
    assert told == {"database": "ok", "database writes": "ok", "disk": "not known"}
    empty = load(database_url=new_postgres_url())
    results = by_name(check_store(empty, folder))
    assert results["database"].outcome is Outcome.FAILURE
    assert results["database"].advice.endswith("run tracking migrate")
    secrets = by_name(check_secrets(empty, folder))
    assert secrets["claims key"].outcome is secrets["webhook secret"].outcome is Outcome.WARNING
    assert secrets["webhook secret"].advice.startswith("on PostgreSQL set it, the same for every process")


def test_a_full_disk_is_a_failure(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for free, outcome in ((2 * 1024**3, "ok"), (5 * 1024**2 * 100, "warning"), (1024**2, "failure")):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: shutil._ntuple_diskusage(0, 0, free))
        assert check_space(folder / "not" / "there").outcome.value == outcome


def test_secrets_in_files_are_read_and_never_made(folder: Path) -> None:
    settings = load(database_url=f"sqlite:///{folder}/data/tracking.db")
    assert outcomes(check_secrets(settings, folder)) == {"webhook secret": "ok", "claims key": "ok"}
    assert not (folder / "data").exists()
    (folder / "data").mkdir()
    (folder / "data" / "claims.key").write_text("cut")
    (folder / "data" / "webhook.secret").write_text(SECRET)
    (folder / "data" / "webhook.secret").chmod(0o644)
    results = by_name(check_secrets(settings, folder))
    assert "restore it from a backup" in results["claims key"].text
    assert results["webhook secret"].advice == f"chmod 600 {folder}/data/webhook.secret"
    assert SECRET not in repr(results)


@pytest.mark.parametrize(
    ("status", "answered", "provider", "catalogue"),
    [
        (200, None, ("ok", "accepted: api.example takes the credentials; its orders count as LIVE"), "warning"),
        (401, {}, ("failure", "refused: the credentials were refused"), "not known"),
        (403, {"Message": "API access is disabled"}, ("failure", "refused: "), "not known"),
        (200, {}, ("failure", "no usable answer: no token"), "not known"),
        (503, {}, ("not known", "asks to wait: "), "not known"),
    ],
)
def test_the_provider_accepts_refuses_or_cannot_be_reached(
    status: int, answered: Any, provider: tuple[str, str], catalogue: str
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, json=ANSWER[request.url.path] if answered is None else answered)

    told = by_name(asyncio.run(ask_provider(load(**PROVIDER), httpx.MockTransport(answer))))
    assert told["provider"].outcome.value == provider[0]
    assert told["provider"].text.startswith(provider[1])
    assert told["catalogue"].outcome.value == catalogue


def test_a_provider_out_of_reach_is_told_without_its_credentials() -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no")

    [told, _] = asyncio.run(ask_provider(load(**PROVIDER), httpx.MockTransport(answer)))
    assert told.text.startswith("unreachable: no connection to the provider")
    assert SECRET not in repr(told)


def test_a_webhook_address_is_judged_as_far_as_it_can_be(
    folder: Path, monkeypatch: pytest.MonkeyPatch, migrated_file: Path
) -> None:
    health = {"loops": {}, "roles": ["webhooks"], "store": {}}
    resolved = {"console.example": "8.8.8.8", "inside.example": "10.0.0.1"}

    def resolve(host: str, port: int, **_: object) -> list[Any]:
        if host not in resolved:
            raise socket.gaierror
        return [(2, 1, 6, "", (resolved[host], port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(httpx, "get", lambda *_, **__: httpx.Response(200, json=health))
    url = f"sqlite:///{shutil.copy(migrated_file, folder / 'tracking.db')}"

    def told(address: str | None, **changes: Any) -> dict[str, CheckResult]:
        return by_name(webhooks.check_webhooks(load(public_url=address, database_url=url, **PROVIDER), folder))

    assert told(None)["webhook address"].outcome is Outcome.WARNING
    assert outcomes(told("https://console.example").values()) == {
        "webhook address": "ok",
        "webhook receiver": "ok",
        "webhooks": "not known",
    }
    assert told("http://console.example")["webhook address"].advice == "use https"
    assert "private address" in told("https://inside.example")["webhook address"].text
    assert outcomes(told("https://nowhere.example").values()) == {"webhook address": "failure", "webhooks": "not known"}
    health["roles"] = ["pages"]
    assert told("https://console.example")["webhook receiver"].outcome is Outcome.FAILURE
    monkeypatch.setattr(httpx, "get", lambda *_, **__: httpx.Response(404, text="no"))
    assert told("https://console.example")["webhook receiver"].outcome is Outcome.UNKNOWN


def test_the_consoles_own_address_is_the_one_of_its_configuration(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(**settings: Any) -> CheckResult:
        [result] = check_console(load(**settings), folder)
        return result

    with pytest.raises(SettingsError, match="can be reached from other machines"):
        told()
    (folder / ".streamlit").mkdir()
    (folder / ".streamlit" / "config.toml").write_text('[server]\naddress = "127.0.0.1"\nbaseUrlPath = "/ops/"\n')
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        monkeypatch.setenv("STREAMLIT_SERVER_PORT", str(port))
        listening.close()
        assert told().text == f"http://127.0.0.1:{port}/ops: the port is free; for this machine alone"
    with socket.create_server(("127.0.0.1", port)):
        monkeypatch.setattr(httpx, "get", lambda *_, **__: httpx.Response(200, text="hello"))
        assert told().text.endswith("another program listens at that port")
        monkeypatch.setattr(httpx, "get", lambda *_, **__: httpx.Response(200, json={"loops": {}}))
        assert told(allow_anyone="yes").outcome is Outcome.OK
    assert told(roles="poller").text == "no pages: TRACKING_ROLES leaves them out"
    (folder / ".streamlit" / "secrets.toml").write_text("[auth\n")
    with pytest.raises(SettingsError, match="must be TOML"):
        told(operators="ann@example.com")
