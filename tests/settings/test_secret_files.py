from pathlib import Path

import pytest

from tracking.errors import SettingsError
from tracking.settings.loading import files_of_lists, load
from tracking.settings.values import Settings
from tracking.settings.variables import MAX_BYTES, file_names

SECRET = "hush-hush-hush-hush"


def problems() -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load()
    return [str(problem) for problem in caught.value.problems]


def provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKING_API_BASE_URL", "https://api.example")
    monkeypatch.setenv("TRACKING_API_EMAIL", "us@example.com")


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_value_may_stand_in_a_file_that_the_environment_or_the_file_env_names(
    ending: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    provider(monkeypatch)
    (tmp_path / "token").write_bytes(f"{SECRET}{ending}".encode())
    (tmp_path / "rate").write_text("9")
    (tmp_path / ".env").write_text("TRACKING_API_ACCESS_TOKEN_FILE=token\n")
    monkeypatch.setenv("TRACKING_API_MAX_RATE_FILE", str(tmp_path / "rate"))
    loaded = load()
    assert loaded.api_access_token is not None
    assert loaded.api_access_token.get_secret_value() == SECRET
    assert loaded.api_max_rate == 9


def test_every_setting_has_such_a_name_and_a_misspelt_one_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(file_names(list(Settings.model_fields))) == len(Settings.model_fields) - 1
    monkeypatch.setenv("TRACKING_API_TOKEN_FILE", "/run/secrets/token")
    assert problems() == ["TRACKING_API_TOKEN_FILE: is no setting; did you mean TRACKING_API_ACCESS_TOKEN_FILE?"]


def test_a_value_and_its_file_at_once_are_a_problem_unless_one_is_empty(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "rate").write_text("9")
    monkeypatch.setenv("TRACKING_API_MAX_RATE_FILE", "rate")
    (tmp_path / ".env").write_text("TRACKING_API_MAX_RATE=3\n")
    assert problems() == [
        "TRACKING_API_MAX_RATE_FILE: is set beside TRACKING_API_MAX_RATE: unset one of the two",
    ]
    monkeypatch.setenv("TRACKING_API_MAX_RATE_FILE", " ")
    assert load().api_max_rate == 3
    monkeypatch.setenv("TRACKING_API_MAX_RATE_FILE", "rate")
    monkeypatch.setenv("TRACKING_API_MAX_RATE", "")
    assert load().api_max_rate == 9


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (None, "cannot be read (No such file or directory): the file must be there, and readable for this process"),
        (b"", "is empty: put the value into the file, or take it away"),
        (b" \n", "is empty: put the value into the file, or take it away"),
        (SECRET.encode("utf-16"), "is not in UTF-8: save it as UTF-8"),
        (SECRET.encode("utf-16-le"), "is in UTF-16: save it as UTF-8"),
        (
            f"TRACKING_WEBHOOK_SECRET={SECRET}".encode(),
            "holds the name and = as well: put the value alone into the file",
        ),
        (b"x" * (MAX_BYTES + 1), "is larger than 64 kB: put the value alone into the file"),
    ],
)
def test_a_file_without_a_usable_value_is_told_in_both_ways_without_path_or_content(
    data: bytes | None, problem: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if data is not None:
        (tmp_path / SECRET).write_bytes(data)
    monkeypatch.setenv("TRACKING_WEBHOOK_SECRET_FILE", SECRET)
    assert problems() == [f"TRACKING_WEBHOOK_SECRET_FILE: {problem}"]
    monkeypatch.delenv("TRACKING_WEBHOOK_SECRET_FILE")
    if data is None:
        return
    folder = tmp_path / "secrets"
    folder.mkdir()
    (tmp_path / SECRET).rename(folder / "TRACKING_WEBHOOK_SECRET")
    monkeypatch.setenv("TRACKING_SECRETS_DIR", "secrets")
    assert problems() == [f"TRACKING_SECRETS_DIR, TRACKING_WEBHOOK_SECRET: {problem}"]


def test_a_folder_in_place_of_a_file_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRACKING_WEBHOOK_SECRET_FILE", str(tmp_path))
    assert problems() == ["TRACKING_WEBHOOK_SECRET_FILE: is no file: put the value into a file of its own"]


def test_a_wrong_value_in_a_file_is_told_without_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "database").write_text(f"postgresql+psycopg://us:{SECRET}@@host/name")
    monkeypatch.setenv("TRACKING_DATABASE_URL_FILE", "database")
    [problem] = problems()
    assert problem.startswith("TRACKING_DATABASE_URL: cannot be parsed")
    assert SECRET not in problem


def test_a_folder_of_files_is_read_after_the_environment_and_its_names_are_checked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    provider(monkeypatch)
    monkeypatch.setenv("TRACKING_SECRETS_DIR", str(tmp_path / "secrets"))
    assert problems()[0] == "TRACKING_SECRETS_DIR: names no folder that can be read (No such file or directory)"
    # As a cluster lays secrets out: names that lead to another folder inside.
    inner = tmp_path / "secrets" / "..data"
    inner.mkdir(parents=True)
    names = {"TRACKING_API_ACCESS_TOKEN": f"{SECRET}\n", "tracking_api_max_rate": "9", "TRACKING_API_TIMEOUT": "7"}
    for name, value in names.items():
        (inner / name).write_text(value)
        (tmp_path / "secrets" / name).symlink_to(inner / name)
    monkeypatch.setenv("TRACKING_API_TIMEOUT", "8")
    loaded = load()
    assert loaded.api_access_token is not None
    assert loaded.api_access_token.get_secret_value() == SECRET
    assert (loaded.api_max_rate, loaded.api_timeout) == (9, 8)
    (tmp_path / "secrets" / "TRACKING_WEBHOK_SECRET").write_text(SECRET)
    assert problems() == ["TRACKING_WEBHOK_SECRET: is no setting; did you mean TRACKING_WEBHOOK_SECRET?"]


def test_a_file_that_says_who_may_come_in_is_one_to_watch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert files_of_lists() == []
    (tmp_path / "secrets").mkdir()
    for name in ("TRACKING_VIEWERS", "TRACKING_API_EMAIL"):
        (tmp_path / "secrets" / name).write_text("bob@example.com")
    monkeypatch.setenv("TRACKING_OPERATORS_FILE", "operators")
    monkeypatch.setenv("TRACKING_SECRETS_DIR", "secrets")
    assert files_of_lists() == [Path("operators"), Path("secrets/TRACKING_VIEWERS")]


def test_an_empty_variable_is_not_set_and_hides_what_the_file_env_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "TRACKING_POLL_CEILING").write_text("60")
    settings = "TRACKING_API_MAX_RATE=3\nTRACKING_ROLES=\nTRACKING_POLL_CEILING=70\nTRACKING_SECRETS_DIR=secrets\n"
    (tmp_path / ".env").write_text(settings)
    monkeypatch.setenv("TRACKING_API_MAX_RATE", "")
    monkeypatch.setenv("TRACKING_POLL_CEILING", " ")
    loaded = load()
    assert (loaded.api_max_rate, loaded.poll_ceiling) == (5, 60)
    assert len(loaded.roles) == 4
