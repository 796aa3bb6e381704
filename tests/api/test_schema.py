"""Whatever the description allows, and what it does not, is answered as the description says: schemathesis tries it."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from api_client import ANN, SECRET, application
from emptying import emptied
from fakes import Clock
from histories import History
from schemathesis import engine as engines
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events

from tracking.access import Access
from tracking.api.callers.limits import RateLimit
from tracking.api.callers.tokens import make_token
from tracking.api.edge import Api
from tracking.storage.database import Database

SEED = 20260131
ACCEPTED = ["2xx", 401, 403, 404, 409]


@pytest.fixture
def served(sqlite_store_of_all: Database) -> Iterator[Any]:
    """The API over a store with some orders, and a token of each role; nobody asks too often."""
    store = sqlite_store_of_all
    history = History(store)
    for number in range(3):
        history.place(f"po-{number}", lines=2)
        history.complete(f"po-{number}")
    clock = Clock()
    api = Api(store, clock=clock, secrets=[SECRET])
    api.limit = RateLimit(per_second=1e9, at_once=1e9)
    tokens = {role: make_token(store, role.value, role, by=ANN, now=clock()) for role in Access}
    yield application(api), tokens
    store.write(emptied)


def failures(served: Any, role: Access | None, examples: int, *, covering: bool) -> list[str]:
    """What schemathesis finds, with all its checks, asked by whoever has this role; `covering` each schema's edges."""
    app, tokens = served
    settings: dict[str, Any] = {
        "seed": SEED,
        "workers": 1,
        "headers": {"Authorization": f"Bearer {tokens[role]}"} if role else {},
        "generation": {"max-examples": examples, "deterministic": True, "database": "none", "no-shrink": True},
        "phases": {"stateful": {"enabled": False}, "coverage": {"enabled": covering}},
        # What a cursor, a time or an order must be, no schema can say in full.
        "checks": {"positive_data_acceptance": {"expected-statuses": [*ACCEPTED, 410, 413, 422]}},
    }
    schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", app, config=SchemathesisConfig.from_dict(settings))
    finished = list(engines.from_schema(schema).execute())
    wrong = [str(event) for event in finished if isinstance(event, events.NonFatalError | events.FatalError)]
    recorders = [event.recorder for event in finished if isinstance(event, events.ScenarioFinished)]
    assert sum(len(recorder.cases) for recorder in recorders) >= 10
    return wrong + [
        f"{recorder.label}, {check.name}: {check.failure_info and check.failure_info.failure}"
        for recorder in recorders
        for checks in recorder.checks.values()
        for check in checks
        if check.status is engines.Status.FAILURE
    ]


@pytest.mark.parametrize("role", [*Access, None])
def test_every_answer_is_as_described(served: Any, role: Access | None) -> None:
    assert failures(served, role, 1, covering=False) == []


@pytest.mark.long
@pytest.mark.parametrize("role", [*Access, None])
def test_every_answer_is_as_described_at_every_edge(served: Any, role: Access | None) -> None:
    assert failures(served, role, 50, covering=True) == []
