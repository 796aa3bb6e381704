from pathlib import Path

import pytest
from processes.over_http import FINAL, drive

ORDERS, ELSEWHERE = 20, 5


# Every scenario runs in virtual time; what only a real socket can show is shown by a quiet one and one of everything.
@pytest.mark.parametrize(
    ("scenario", "confirmed"), [pytest.param("normal", ORDERS, marks=pytest.mark.long), ("mixed-faults", 1)]
)
def test_console_and_provider_agree_at_the_end(scenario: str, confirmed: int, tmp_path: Path) -> None:
    figures = drive(tmp_path, scenario, orders=ORDERS, elsewhere=ELSEWHERE)
    assert figures.problems == []
    assert figures.orders >= ORDERS + ELSEWHERE
    assert set(figures.states) <= (FINAL if scenario == "mixed-faults" else {"Completed"})
    assert figures.confirmed >= confirmed, "a webhook that came over HTTP is confirmed by a look"
    assert figures.webhooks >= confirmed
