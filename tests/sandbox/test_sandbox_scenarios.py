"""The table of scenarios."""

from __future__ import annotations

from dataclasses import fields

from tracking.sandbox.faults import NOTE_WORDS, Faults
from tracking.sandbox.scenarios import SCENARIOS, Scenario


def test_every_fault_is_used_by_a_scenario() -> None:
    normal, sizes = Faults(), {"seconds_base", "seconds_per_unit", "outage_every", "slow_seconds"}
    blended = [part for scenario in SCENARIOS.values() for part in scenario.faults.blend]
    used = [scenario.faults for scenario in SCENARIOS.values()] + blended
    idle = [
        field.name
        for field in fields(Faults)
        if all(getattr(faults, field.name) == getattr(normal, field.name) for faults in used)
    ]
    assert set(idle) == sizes


def test_every_scenario_has_a_sentence_and_its_own_name() -> None:
    assert all(name == scenario.name and scenario.summary.endswith(".") for name, scenario in SCENARIOS.items())
    assert all(summary and not summary.endswith(".") for summary in NOTE_WORDS.values())


def test_scenarios_are_values() -> None:
    assert isinstance(SCENARIOS["normal"], Scenario)
    assert SCENARIOS["normal"].faults == Faults()
