"""Each trouble that lasts is told of once, and its end once; whatever is killed, refused or flickers."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from fakes import NOW, SECOND
from hypothesis import given
from hypothesis import strategies as st

from tracking.alerting import lifecycle
from tracking.alerting.lifecycle import GROUPED, QUIET, SNOOZED, Policy
from tracking.alerting.rules import ALL, GROUPED_EVERY, RULES
from tracking.alerting.troubles import Trouble
from tracking.settings.alerts import AlertRule, QuietHours
from tracking.storage.integration.alerts import Alert

UNREACHABLE = RULES[AlertRule.UNREACHABLE]
CLAIM = timedelta(seconds=60)


@dataclass
class Machine:
    """The life of alerts without a store: `sent` has what was, by the row's number and whether it had ended."""

    services: Sequence[str] = ("json",)
    policy: Policy = field(default_factory=Policy)
    now: datetime = NOW
    rows: dict[int, Alert] = field(default_factory=dict)
    sent: list[tuple[int, bool]] = field(default_factory=list)

    def tick(self, seconds: float, *troubles: Trouble, answer: str = "taken", by: Sequence[str] = ()) -> None:
        self.now += SECOND * seconds
        for alert in lifecycle.observe(self._unsettled(), troubles, self.services, self.policy, self.now):
            number = alert.id or len(self.rows) + 1
            self.rows[number] = replace(alert, id=number)
        for alert in lifecycle.due(self._unsettled(), self.policy, self.now):
            self._send(lifecycle.claimed(alert, self.now + CLAIM), answer, by or self.services)

    def _unsettled(self) -> list[Alert]:
        return [row for row in self.rows.values() if row.ended_at is None or row.next_attempt_at is not None]

    def _send(self, alert: Alert, answer: str, by: Sequence[str]) -> None:
        assert alert.id is not None
        self.rows[alert.id] = alert
        taken = lifecycle.missing(alert, by) if answer in {"taken", "killed after"} else []
        self.sent += [(alert.id, alert.ended_at is not None)] * bool(taken)
        if "killed" not in answer:
            self.rows[alert.id] = lifecycle.recorded(alert, alert, taken, self.services, self.now)


def trouble(rule: AlertRule = AlertRule.UNREACHABLE, subject: str = "", **more: Any) -> Trouble:
    return Trouble(rule, subject, "it is down", **more)


STEP = st.tuples(
    st.sampled_from([1, 5, 20, 45, 70, 200]),
    st.booleans(),
    st.sampled_from(["taken", "taken", "taken", "refused", "killed before", "killed after"]),
)


@given(st.lists(STEP, max_size=40))
def test_whatever_happens_each_trouble_is_told_of_and_so_is_its_end(steps: list[tuple[int, bool, str]]) -> None:
    machine, kills, claims = Machine(), dict[int, int](), set[int]()
    for seconds, there, answer in steps:
        before = len(machine.sent)
        machine.tick(seconds, *([trouble()] if there else []), answer=answer)
        claims |= {number for number, row in machine.rows.items() if row.attempts}
        if answer == "killed after":
            for number, _ in machine.sent[before:]:
                kills[number] = kills.get(number, 0) + 1
    for seconds in (100, 1000, 1000, 1000):
        machine.tick(seconds)
    for number, row in machine.rows.items():
        assert row.ended_at is not None
        told = [ended for of, ended in machine.sent if of == number]
        assert sorted(told) == told, "an end was told of before its begin"
        if number not in claims:
            assert told == [], "it was over before its message was due"
            continue
        begins, ends = told.count(False), told.count(True)
        assert ends >= 1, "nobody heard that it is over, or of it at all"
        assert begins + ends <= 2 + kills.get(number, 0), "told of more often than processes were killed"


def test_what_is_over_before_its_delay_is_not_told_of() -> None:
    machine = Machine()
    machine.tick(0, trouble())
    machine.tick(UNREACHABLE.lasts.total_seconds() - 1, trouble())
    for seconds in (1, 59, 1, 600):
        machine.tick(seconds)
    assert machine.sent == []
    assert [row.next_attempt_at for row in machine.rows.values()] == [None]


def test_what_flickers_is_one_trouble_and_is_not_told_of_while_it_is_gone() -> None:
    machine = Machine()
    for _ in range(20):
        machine.tick(10, trouble())
        machine.tick(10)
    assert machine.sent == [(1, False)]
    machine.tick(10, trouble())
    machine.tick(10)
    machine.tick(60)
    assert machine.sent == [(1, False), (1, True)]
    [row] = machine.rows.values()
    assert (row.began_at, row.ended_at) == (NOW + 10 * SECOND, NOW + 420 * SECOND)


def test_what_began_long_ago_is_told_of_soon_and_counts_from_then() -> None:
    machine = Machine()
    machine.tick(0, trouble(since=NOW - timedelta(hours=1)), trouble(AlertRule.WEBHOOKS, since=NOW))
    assert machine.sent == [(2, False)], "what a process that stopped knew may be over"
    machine.tick(10, trouble(since=NOW - timedelta(hours=1)), trouble(AlertRule.WEBHOOKS, since=NOW))
    assert machine.sent == [(2, False), (1, False)]
    assert machine.rows[1].began_at == NOW - timedelta(hours=1)
    assert machine.rows[1].updated_at == NOW


def test_what_another_trouble_covers_is_told_of_only_once_that_is_over() -> None:
    machine = Machine()
    machine.tick(0, trouble(covered=True))
    machine.tick(600, trouble(covered=True))
    assert machine.sent == []
    machine.tick(1, trouble())
    assert machine.sent == [(1, False)]
    machine.tick(1, trouble(covered=True))
    machine.tick(600, trouble())
    assert machine.sent == [(1, False)]


def test_only_the_service_that_did_not_take_it_is_tried_again_and_told_of_the_end_in_its_own_words() -> None:
    machine = Machine(services=("json", "mailto"))
    machine.tick(0, trouble())
    machine.tick(70, trouble(), by=["json"])
    row = machine.rows[1]
    assert (row.sent_to, row.last_error, row.sent_at) == (("json",), "not taken by mailto", machine.now)
    assert lifecycle.missing(row, machine.services) == ["mailto"]
    assert row.next_attempt_at == machine.now + 10 * SECOND
    machine.tick(10, trouble(), answer="refused")
    assert machine.rows[1].next_attempt_at == machine.now + 30 * SECOND
    machine.tick(5)
    machine.tick(60)
    assert machine.rows[1].end_sent_to == ("json", "mailto")
    assert machine.rows[1].next_attempt_at is None


def test_an_end_that_nobody_takes_is_given_up_after_a_day() -> None:
    machine = Machine()
    machine.tick(0, trouble())
    machine.tick(60, trouble())
    machine.tick(1, answer="refused")
    for _ in range(200):
        machine.tick(900, answer="refused")
    assert machine.rows[1].next_attempt_at is None
    assert machine.sent == [(1, False)]


def test_a_rule_that_is_switched_off_ends_its_alerts_without_a_word() -> None:
    machine = Machine()
    machine.tick(0, trouble())
    machine.tick(60, trouble())
    machine.policy = Policy(off=[AlertRule.UNREACHABLE])
    machine.tick(60, trouble())
    machine.tick(600, trouble())
    assert machine.sent == [(1, False)]
    assert [row.ended_at for row in machine.rows.values()] == [NOW + 120 * SECOND]


def test_a_clock_that_is_set_back_holds_nothing_up() -> None:
    machine = Machine()
    machine.tick(0, trouble())
    machine.tick(60, trouble(), answer="refused")
    machine.tick(-86400, trouble())
    machine.tick(1, trouble())
    assert machine.sent == [(1, False)]
    machine.tick(1)
    machine.tick(-3600)
    machine.tick(60)
    assert machine.sent == [(1, False), (1, True)]


def test_orders_after_the_first_wait_to_be_told_of_together() -> None:
    machine = Machine()
    first, *others = [trouble(AlertRule.LATE, f"FT-{number}", since=NOW) for number in range(4)]
    machine.tick(0, first)
    machine.tick(60, first)
    machine.policy = Policy(last={"late": machine.now})
    machine.tick(60, first, *others)
    assert machine.sent == [(1, False)]
    assert machine.policy.held(machine.rows[2], machine.now) == GROUPED
    machine.tick((GROUPED_EVERY - timedelta(minutes=1)).total_seconds(), first, *others)
    assert machine.sent == [(1, False), (2, False), (3, False), (4, False)]


def test_quiet_hours_and_snoozes_hold_messages_but_no_urgent_one_in_quiet_hours() -> None:
    night = QuietHours(time(11), time(13))
    policies = {QUIET: Policy(quiet=night), SNOOZED: Policy(quiet=night, snoozed={ALL: NOW + timedelta(hours=9)})}
    for why, policy in policies.items():
        machine = Machine(policy=policy)
        machine.tick(0, trouble(), trouble(AlertRule.STORE), trouble(AlertRule.BALANCE))
        machine.tick(60, trouble(), trouble(AlertRule.STORE))
        assert machine.policy.held(machine.rows[1], machine.now) == why
        assert machine.sent == ([(2, False)] if why == QUIET else [])
        machine.tick(1800, trouble(), trouble(AlertRule.STORE))
        machine.policy = replace(policy, snoozed={})
        machine.tick(1800, trouble(), trouble(AlertRule.STORE))
        # The balance is as it should be again: what is over by then is not told of.
        assert sorted(machine.sent) == [(1, False), (2, False)]


def utc(parts: Sequence[int]) -> datetime:
    year, month, day, hour, minute = [*parts, 0][:5]
    return datetime(year, month, day, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "at", "until"),
    [
        ("22:00-06:00", (2026, 11, 23, 23), (2026, 11, 24, 6)),
        ("22:00-06:00", (2026, 11, 23, 5, 59), (2026, 11, 23, 6)),
        ("22:00-06:00", (2026, 11, 23, 6), None),
        ("9:30-17:00", (2026, 11, 23, 9, 30), (2026, 11, 23, 17)),
        ("9:30-17:00", (2026, 11, 23, 17), None),
        ("22:00-06:00 Europe/Berlin", (2026, 11, 23, 21), (2026, 11, 24, 5)),
        # The night in which the clocks are set forward, and the one in which they are set back.
        ("22:00-06:00 Europe/Berlin", (2026, 3, 29, 3, 59), (2026, 3, 29, 4)),
        ("22:00-06:00 Europe/Berlin", (2026, 3, 29, 4), None),
        ("22:00-06:00 Europe/Berlin", (2026, 10, 25, 4, 59), (2026, 10, 25, 5)),
    ],
)
def test_quiet_hours_end_by_the_wall_clock_of_their_zone(text: str, at: Any, until: Any) -> None:
    ends = QuietHours.parse(text).until(utc(at))
    assert ends == (utc(until) if until else None)
    assert QuietHours.parse(str(QuietHours.parse(text))) == QuietHours.parse(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("22-6", "must be hours"),
        ("25:00-06:00", "no time of day"),
        ("22:00-22:00", "begins when it ends"),
        ("22:00-06:00 Europe/Nowhere", "that there is not"),
        ("22:00-06:00 /etc/passwd", "that there is not"),
    ],
)
def test_quiet_hours_that_cannot_be_are_refused_in_words(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        QuietHours.parse(text)
