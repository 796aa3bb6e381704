"""Services are loaded from the setting, or the start says what is wrong with it, without repeating it."""

import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from tracking.alerting.messages import Gravity, Message
from tracking.alerting.services import INSTALL, Service, load_services
from tracking.errors import SettingsError

HTTP = "json://127.0.0.1:9/kanari"
MAIL = "mailto://user:kanari@127.0.0.1:9?from=a@example.com&to=b@example.com"


def names(addresses: str, folder: Path = Path()) -> list[str]:
    return [service.name for service in load_services(SecretStr(addresses), folder=folder)]


def test_services_are_called_by_their_kind_and_numbered(tmp_path: Path) -> None:
    assert load_services(None) == []
    assert names(f"{HTTP} {MAIL},{HTTP}/b\n{HTTP}/c") == ["json", "mailto", "json 2", "json 3"]
    (tmp_path / "alerts.txt").write_text(f"# ours\n{HTTP}\nops={MAIL}\n")
    (tmp_path / "alerts.yml").write_text(f"urls:\n  - {HTTP}\n  - {MAIL}\n")
    assert names("alerts.txt", tmp_path) == names(str(tmp_path / "alerts.yml")) == ["json", "mailto"]


@pytest.mark.parametrize(
    ("addresses", "why"),
    [
        (f"slakc://kanari {HTTP}", "has an address that cannot be used.*1 of them can be used"),
        ("mailto://", "has an address that cannot be used"),
        ("kanari", "is neither an address with :// in it nor the path of a file"),
        ("wrong.txt", "names a file with entries that cannot be used: 1 can"),
        ("empty.txt", "names a file with entries that cannot be used: 0 can"),
    ],
)
def test_what_cannot_be_used_is_said_and_not_repeated(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, addresses: str, why: str
) -> None:
    caplog.set_level(1)
    (tmp_path / "wrong.txt").write_text(f"{HTTP}\nslakc://kanari\n")
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(SettingsError, match=f"(?s)TRACKING_ALERTS.*{why}") as caught:
        names(addresses, tmp_path)
    assert "kanari" not in repr((caught.value, caught.value.problems, caught.value.__cause__)) + caplog.text


def test_without_the_extra_the_start_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(SettingsError) as caught:
        names(HTTP)
    assert INSTALL in str(caught.value.problems)


def test_what_a_service_raises_and_logs_leaves_no_trace_of_its_address(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(1)
    for name in ("apprise", "urllib3.connectionpool"):
        logging.getLogger(name).setLevel(1)

    class Breaks:
        def notify(self, **_: Any) -> bool:
            raise ValueError("kanari")

    [nobody_there] = load_services(SecretStr(HTTP))
    message = Message("title", "body", Gravity.WARNING)
    assert [service.send(message) for service in (nobody_there, Service("broken", Breaks()))] == [False, False]
    assert caplog.messages == [
        "alert not sent service=json: connection refused: nothing listens there",
        "alert not sent service=broken error=ValueError",
    ]
    assert "kanari" not in repr(nobody_there)


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("Failed to send JSON POST notification: Verification Failed., error=401.", "it answers 401"),
        ("url: /kanari (Caused by SSLError(... certificate verify failed: ...))", "its certificate is refused"),
        ("Caused by SSLError(SSLError(1, '[SSL: WRONG_VERSION_NUMBER] ...'))", "it does not speak TLS as we do"),
        ("Caused by ProxyError('Unable to connect to proxy', ...)", "the proxy does not connect to it"),
        ("[Errno -2] Name or service not known", "its host name cannot be resolved (DNS)"),
        ("Read timed out. (read timeout=4.0)", "no answer in time"),
        ("Socket Exception: (535, b'5.7.8 kanari')", "the mail server answers 535"),
        ("kanari", "no connection"),
    ],
)
def test_why_a_message_was_not_taken_is_told_in_words_of_ours(said: str, cause: str) -> None:
    class Refuses:
        def notify(self, **_: Any) -> bool:
            logging.getLogger("apprise").warning("A Connection error occurred sending JSON notification to kanari.")
            logging.getLogger("apprise").debug(said)
            return False

    load_services(SecretStr(HTTP))
    service = Service("json", Refuses())
    assert not service.send(Message("title", "body", Gravity.WARNING))
    assert service.cause == cause


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="there is no imghdr any more")
def test_only_the_warning_of_what_apprise_imports_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "imghdr", raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert names(HTTP) == ["json"]
        with pytest.raises(DeprecationWarning, match="another"):
            warnings.warn("another", DeprecationWarning, stacklevel=1)
