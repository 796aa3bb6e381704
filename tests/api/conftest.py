import asyncio
from collections.abc import Iterator

import pytest
from api_client import ANN, SECRET, Ask, asking
from fakes import Clock
from histories import History

from tracking.access import Access
from tracking.api.callers.tokens import make_token
from tracking.api.edge import Api
from tracking.storage.database import Database


@pytest.fixture
def history(store: Database) -> History:
    """Makes orders in the store."""
    return History(store)


@pytest.fixture
def api(store: Database, clock: Clock) -> Api:
    return Api(store, clock=clock, secrets=[SECRET])


@pytest.fixture
def tokens(store: Database, clock: Clock) -> dict[str, str]:
    """A token of each role, by its role."""
    return {
        access.value: make_token(store, f"{access}-token", access, by=ANN, now=clock()) for access in reversed(Access)
    }


@pytest.fixture
def loop() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def ask(api: Api, tokens: dict[str, str], loop: asyncio.Runner) -> Ask:
    """Asks the API, by default with a viewer's token."""
    return asking(api, tokens, loop)
