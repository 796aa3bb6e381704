from collections.abc import Iterator
from dataclasses import replace

import mishaps
import pytest
import world
from mutants import MUTANTS
from planting import Mutant, rewritten
from simulate import Histories, fresh_seeds, killed, shrunk, told

from tracking.orders import rules

FIXED = range(25)
FRESH = 10
# Faults that are found soon, each with the first seed that finds it: one that no longer does costs time and no more.
SOON = {
    "post-first": 0,
    "new-number": 0,
    "notice-believed": 4,
    "due-in-memory": 0,
    "answer-first": 4,
    "event-late": 0,
    "count-late": 0,
    "acknowledged-uncounted": 13,
    "404-final": 1,
    "claims-missing": 3,
    "hurried": 16,
    "answer-is-look": 14,
    "seq-reused": 0,
    "odd-field-blocks": 33,
    "unproven-unsaid": 8,
    "body-decides": 9,
    "declined-sent": 2,
    "judged-twice": 15,
    "outcome-late": 0,
    "key-forgotten": 27,
    "passes-over": 0,
    "light-sleeper": 3,
    "unrecorded-work": 3,
    "recorded-before": 0,
    "chain-cut": 0,
    "not-done": 0,
    "row-late": 0,
    "leaves-first": 287,
    "hook-late": 18,
    "hook-overtakes": 18,
    "hook-renamed": 18,
    "hook-hasty": 18,
    "late-early": 18,
    "alert-unrecorded": 10,
}


@pytest.fixture(scope="module")
def histories() -> Iterator[Histories]:
    with Histories() as opened:
        yield opened


def test_no_history_breaks_an_invariant(histories: Histories) -> None:
    for seed in [*FIXED, *fresh_seeds(FRESH)]:
        outcome = histories.run(seed)
        assert outcome.violation is None, told(shrunk(histories, outcome))


def test_the_same_seed_is_the_same_history(histories: Histories) -> None:
    first = [histories.run(seed) for seed in (3, 8, 13)]
    again = [histories.run(seed) for seed in (3, 8, 13)]
    assert [one.digest for one in first] == [one.digest for one in again]
    assert len({one.digest for one in first}) == 3
    assert first[0].mishaps == again[0].mishaps


def test_a_history_is_the_same_through_sqlalchemys_own_engine(
    histories: Histories, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = (1, 2, 5, 13, 27)
    short = [histories.run(seed).digest for seed in seeds]
    made = mishaps.climate_of
    monkeypatch.setattr(world, "climate_of", lambda *given: replace(made(*given), through_engine=True))
    assert [histories.run(seed).digest for seed in seeds] == short


def test_to_tell_a_history_does_not_change_it(histories: Histories) -> None:
    assert histories.run(5, telling=True).digest == histories.run(5).digest


@pytest.mark.parametrize("mutant", [one for one in MUTANTS if one.name in SOON], ids=lambda one: one.name)
def test_a_planted_fault_is_found(histories: Histories, mutant: Mutant) -> None:
    first = SOON[mutant.name]
    seed, violation = killed(histories, mutant, first + 100, first=first)
    assert violation is not None, mutant.sentence
    assert histories.run(seed).violation is None, "without the fault the same history is fine"


def test_a_history_that_fails_is_shrunk_and_told_in_words(histories: Histories) -> None:
    mutant = next(one for one in MUTANTS if one.name == "notice-believed")
    seed, _ = killed(histories, mutant, 100, first=SOON[mutant.name])
    with mutant.plant():
        whole = histories.run(seed)
        small = shrunk(histories, whole)
    assert small.violation is not None
    assert whole.violation is not None
    assert small.violation.invariant == whole.violation.invariant
    assert len(small.steps) + len(small.mishaps) <= len(whole.steps) + len(whole.mishaps)
    assert f"seed {seed}: I2: T-" in told(small)
    assert "submit (order" in told(small)


def test_every_mutant_plants_its_fault_and_takes_it_back() -> None:
    before = rules.interpret, rules._polled
    for mutant in MUTANTS:
        with mutant.plant():
            pass
    assert (rules.interpret, rules._polled) == before
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 25


def test_a_mutant_whose_place_is_gone_says_so() -> None:
    with pytest.raises(LookupError, match="bring the mutant up to date"):
        rewritten(rules, "_polled", ("not there", "at all"))()
