"""Checks of secrets made on the first start: are they set or in their files, and readable by nobody else."""

import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from pydantic import SecretStr

from tracking.app.checks.results import CheckResult, Outcome
from tracking.errors import SettingsError
from tracking.settings.secret_texts import (
    CLAIMS_KEY_FILE,
    WEBHOOK_SECRET_FILE,
    stored_claims_key,
    stored_webhook_secret,
)
from tracking.settings.values import Settings
from tracking.storage.engines import file_of


def check_secrets(settings: Settings, folder: Path) -> Iterator[CheckResult]:
    """Check the webhook secret and the key of claim data. Makes neither."""
    place = folder / settings.data_folder
    file = place / WEBHOOK_SECRET_FILE
    on_server = file_of(settings.database_url) is None
    webhook = _check("webhook secret", settings.webhook_secret, file, partial(stored_webhook_secret, place))
    yield _of_one_machine(webhook) if on_server and settings.webhook_secret is None else webhook
    if settings.claims_key is None and on_server:
        text = "TRACKING_CLAIMS_KEY is not set: on PostgreSQL claim data is only counted, and cannot be shown"
        advice = "set it, the same for every process, if claim data is to be shown"
        yield CheckResult("claims key", Outcome.WARNING, text, advice)
        return
    yield _check("claims key", settings.claims_key, place / CLAIMS_KEY_FILE, partial(stored_claims_key, place))


def _of_one_machine(result: CheckResult) -> CheckResult:
    """What a file of this machine means where several machines may work on one PostgreSQL database."""
    if result.outcome is Outcome.FAILURE:
        return result
    text = f"TRACKING_WEBHOOK_SECRET {result.text}, and another machine makes another one"
    advice = "on PostgreSQL set it, the same for every process; it must be set where TRACKING_PUBLIC_URL is"
    advice = "; ".join(filter(None, (advice, result.advice)))
    return replace(result, outcome=Outcome.WARNING, text=text, advice=advice)


def _check(name: str, setting: SecretStr | None, file: Path, read: Callable[[], object]) -> CheckResult:
    if setting is not None:
        return CheckResult(name, Outcome.OK, "is set")
    if not file.exists():
        return CheckResult(name, Outcome.OK, f"is not set: the first start makes one in {file}")
    try:
        read()
    except SettingsError as exc:
        return CheckResult(name, Outcome.FAILURE, "; ".join(map(str, exc.problems)))
    if stat.S_IMODE(file.stat().st_mode) & 0o077:
        return CheckResult(name, Outcome.WARNING, f"{file} can be read by other users", f"chmod 600 {file}")
    return CheckResult(name, Outcome.OK, f"is in {file}")
