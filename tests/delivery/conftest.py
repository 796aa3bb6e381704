"""A receiver and a store for tests of outgoing webhooks."""

from collections.abc import Iterator

import pytest
from outgoing import Outgoing, Receiver

from tracking.forecasting.planner import PlanningContext
from tracking.storage.database import Database


@pytest.fixture
def outgoing(store: Database, planner: PlanningContext) -> Outgoing:
    return Outgoing(store, planner)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running
