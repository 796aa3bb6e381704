import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import callback_body
from hostile import PATHS, REFUSAL, SECRETS, Call, Fortress, Generator, assail, bombard, exchange, statuses
from http_server import serving

from tracking.settings.addresses import WEBHOOK_PATH
from tracking.webhooks import addresses

SEED = 1  # `make hostile` draws another one each time


@pytest.fixture
def fortress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fortress]:
    monkeypatch.chdir(tmp_path)
    built = Fortress(tmp_path)
    yield built
    built.close()


def test_two_thousand_hostile_calls_get_one_answer_and_leave_bounded_refusals_alone(fortress: Fortress) -> None:
    figures = asyncio.run(assail(fortress, Generator(random.Random(SEED)), 2000))
    assert (figures.problems, fortress.harmed(2000)) == ([], [])
    assert fortress.backend.receiver.refused == 2000


def test_raw_bytes_over_a_socket_get_no_5xx_and_one_kind_of_refusal(fortress: Fortress) -> None:
    rng = random.Random(SEED)
    with serving(fortress.app) as port:
        figures = bombard(port, rng, Generator(rng), 150, PATHS)
        assert statuses(exchange(port, b"GET /healthz HTTP/1.1\r\nHost: console\r\nConnection: close\r\n\r\n")) == [200]
    assert (figures.problems, fortress.harmed(150)) == ([], [])
    assert figures.answers["404"] > 10


def test_what_is_looked_for_would_be_found(fortress: Fortress) -> None:
    """A genuine call in between shows up in every figure."""
    path = WEBHOOK_PATH + addresses.make_token("demo-0001", SECRETS[0])
    call = Call("POST", path.encode(), (callback_body("demo-0001", None),))
    assert asyncio.run(fortress.ask(call)) != REFUSAL
    assert len(fortress.harmed(1)) == 3
