from pathlib import Path

import pytest
from processes.over_http import drive

ORDERS, ELSEWHERE = 40, 10


@pytest.mark.parametrize(
    "scenario",
    [
        "post-disconnect-after",
        "slow-answers",
        "webhook-duplicate",
        "early-401",
    ],
)
def test_console_and_provider_agree_at_the_end(scenario: str, tmp_path: Path) -> None:
    figures = drive(tmp_path, scenario, orders=ORDERS, elsewhere=ELSEWHERE)
    assert figures.problems == []
    assert figures.states == {"Completed": ORDERS + ELSEWHERE}
    assert figures.confirmed == ORDERS, "a webhook that came over HTTP is confirmed by a look"
    assert figures.webhooks >= ORDERS
