from dataclasses import replace
from datetime import timedelta

import pytest
from histories import START

from tracking.errors import (
    InvalidSubmission,
    NotAdmitted,
    Problem,
    StoreBusy,
    TrackingError,
    UnreadableAnswer,
    explain,
)
from tracking.forecasting.incidents import Incident, LateOrders
from tracking.reports.banners import health_banners, store_banners
from tracking.reports.health import ComponentStatus, Health, Level, summary
from tracking.reports.logs.contract import ContractChange
from tracking.storage.maintenance.restore_mark import RestoreMark
from tracking.webhooks.silence_alarm import SilenceAlarm

LATER = START + timedelta(minutes=5)
HEALTHY = Health(unreachable_since=None, refused=None, paused_until=None, silent=())
TROUBLED = Health(
    unreachable_since=START,
    refused="CredentialsRefused: no token (401)",
    paused_until=LATER,
    silent=("poller", "sender"),
    restored=RestoreMark(START, 0, trouble="no answer"),
    wal_bytes=300 * 2**20,
    webhooks=SilenceAlarm(START, START, 1),
    why_unreachable="its certificate has expired",
)


def test_a_healthy_console_has_no_banner() -> None:
    assert store_banners(None) == []
    assert health_banners(HEALTHY, LateOrders(), LATER) == []


def test_orders_that_are_not_weighed_are_told_of_with_what_comes_first() -> None:
    [banner] = health_banners(replace(HEALTHY, left_out=12_345), LateOrders(), LATER)
    assert (banner.level, "12,345 wait for their planned poll" in banner.text) == (Level.INFO, True)
    assert "asked for are polled first" in str(banner.details)


def test_webhooks_that_were_switched_off_are_named() -> None:
    [banner] = health_banners(replace(HEALTHY, hooks_off=("crm", "erp")), LateOrders(), LATER)
    assert (banner.level, banner.rule) == (Level.WARNING, None), "its alert is one for each of them"
    assert "“crm”, “erp” are switched off" in banner.text


def test_a_store_that_cannot_be_written_is_an_error() -> None:
    [banner] = store_banners("the disk is full")
    assert banner.level is Level.ERROR
    assert banner.details is not None
    assert banner.details.startswith("The disk is full. Work resumes")


def test_all_that_is_wrong_comes_in_one_order_the_gravest_first() -> None:
    banners = health_banners(TROUBLED, LateOrders(), LATER)
    assert [banner.icon for banner in banners] == [
        "key_off", "cloud_off", "heart_broken", "settings_backup_restore", "hourglass_top", "notifications_off",
        "pause",
    ]  # fmt: skip
    assert [banner.level for banner in banners].count(Level.ERROR) == 3
    assert "5 min ago" in banners[1].text
    assert str(banners[1].details).startswith("Reason: its certificate has expired.")
    assert "1 order completed" in banners[5].text


def test_changes_of_the_contract_are_one_line_with_the_way_to_their_log() -> None:
    changes = (
        ContractChange("new", START, "2 new fields in GET /v1/Orders: Total, Fees", 2, (1, 2)),
        ContractChange("gone", START, "1 field gone from GET /v1/Orders: Cost", 1, (3,)),
    )
    [banner] = health_banners(replace(HEALTHY, contract=changes), LateOrders(), LATER)
    assert (banner.level, banner.text) == (Level.INFO, "The provider's API changed: 2 new and 1 gone")
    assert banner.logs == {"what": "contract"}
    assert "Fees (" in str(banner.details)


def test_a_pause_says_whether_calls_were_too_many_or_the_provider_is_unavailable() -> None:
    asked, away = (
        health_banners(replace(HEALTHY, paused_until=LATER, unavailable=unavailable), LateOrders(), START)[0]
        for unavailable in (False, True)
    )
    assert (asked.level, asked.text) == (
        Level.INFO,
        "The provider asked for a pause; API calls resume at 10:05:00",
    )
    assert (away.level, away.text) == (
        Level.WARNING,
        "The provider is unavailable (503); API calls resume at 10:05:00",
    )


def test_orders_that_became_due_while_nothing_could_be_polled_are_not_called_late() -> None:
    first, last = START - timedelta(days=1), START - timedelta(hours=1)
    incident = Incident(("Links/1",), first, last, 1_200, 0, 1_200, late_since=START)
    late = LateOrders((incident,), 0, None)
    for unanswered, level, part in (
        (None, Level.WARNING, "are late: contact the provider once"),
        (START + timedelta(seconds=1), Level.WARNING, "are late: contact the provider once"),
        (START, Level.INFO, "are due; nothing could be polled since 10:00:00"),
    ):
        [banner] = health_banners(replace(HEALTHY, unanswered_since=unanswered), late, LATER)
        assert (banner.level, part in banner.text) == (level, True)
        assert ("contact" in str(banner.details)) == (level is Level.WARNING)
        assert len(banner.text) <= 110


def test_each_banner_is_one_line() -> None:
    first, last = START - timedelta(days=3), START - timedelta(days=1)
    incident = Incident(("Links/1",), first, last, 1_200, 30, 1_200)
    late = LateOrders((incident,), 1_200, first)
    banners = [*store_banners("the disk is full"), *health_banners(TROUBLED, late, LATER)]
    assert len(banners) == 10
    assert [banner.text for banner in banners if len(banner.text) > 110 or "\n" in banner.text] == []
    assert [banner.text for banner in banners if banner.text.endswith(".")] == []


@pytest.mark.parametrize(
    ("worrying", "levels", "told"),
    [
        (False, [], ("healthy", Level.SUCCESS)),
        (False, [Level.INFO], ("healthy", Level.SUCCESS)),
        (True, [], ("degraded", Level.WARNING)),
        (False, [Level.INFO, Level.WARNING], ("degraded", Level.WARNING)),
        (True, [Level.WARNING, Level.ERROR], ("down", Level.ERROR)),
    ],
)
def test_the_health_is_one_word_for_the_worst_of_all(
    worrying: bool, levels: list[Level], told: tuple[str, str]
) -> None:
    components = (ComponentStatus("Polls due", None, "0"), ComponentStatus("Poller", START, "", worrying))
    assert summary(components, levels) == told


@pytest.mark.parametrize(
    ("error", "title", "problems"),
    [
        (InvalidSubmission([Problem("row 2", "no product"), Problem("", "empty")]), "Nothing was sent", 2),
        (StoreBusy("locked"), "The database is busy", 1),
        (NotAdmitted("nobody we know"), "Not permitted", 1),
        (UnreadableAnswer("no JSON"), "That did not work", 1),
    ],
)
def test_an_error_is_explained_by_its_nearest_kind(error: TrackingError, title: str, problems: int) -> None:
    explanation = explain(error)
    assert (explanation.title, len(explanation.problems)) == (title, problems)
