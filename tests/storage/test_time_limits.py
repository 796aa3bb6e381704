"""A read that takes too long is given up; its connection, the other readers and the writer go on as if it had ended."""

import contextlib
import time
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from fakes import Clock

from tracking.errors import StoreBusy, TooSlow
from tracking.storage import facts
from tracking.storage.database import Database
from tracking.storage.reading.time_limits import hurried, time_limit

# Longer than any test may take, without a table.
NUMBERS = sa.text(
    "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 4000000000) SELECT max(x) FROM n"
)
ONE = sa.text("SELECT 1")


@contextlib.contextmanager
def given_up() -> Iterator[None]:
    """What is done within takes too long, and ends soon all the same."""
    began = time.monotonic()
    with pytest.raises(TooSlow) as raised:
        yield
    assert not isinstance(raised.value, StoreBusy)
    assert time.monotonic() - began < 20


def test_a_read_that_takes_too_long_is_given_up(store: Database, clock: Clock) -> None:
    for read in (store.read, store.snapshot):
        with given_up(), time_limit(0.05), read() as connection:
            connection.execute(NUMBERS)
    with store.read() as connection:  # the same connection, without a limit
        assert connection.execute(ONE).scalar() == 1
    with time_limit(0.05), store.read() as connection:
        assert connection.execute(ONE).scalar() == 1
    store.write(lambda connection: facts.set_fact(connection, "written", {}, clock()))


def test_the_writer_is_held_up_by_no_read_and_has_no_limit(store: Database, clock: Clock) -> None:
    with given_up(), time_limit(0.3), store.read() as connection:
        assert connection.execute(ONE).scalar() == 1
        began = time.monotonic()
        store.write(lambda writing: facts.set_fact(writing, "beside", {}, clock()))
        assert time.monotonic() - began < 10
        connection.execute(NUMBERS)
    with time_limit(0.0):
        store.write(lambda writing: facts.set_fact(writing, "within", {}, clock()))
    with store.read() as connection:
        assert facts.get_fact(connection, "beside")
        assert facts.get_fact(connection, "within")


def test_a_part_of_a_read_may_be_given_up_alone(store: Database) -> None:
    with time_limit(60.0), store.read() as connection:
        with given_up(), hurried(connection, 0.05):
            connection.execute(NUMBERS)
        assert connection.execute(ONE).scalar() == 1
    with store.read() as connection, hurried(connection, 0.0):  # where the whole has no limit, the part has none
        assert connection.execute(ONE).scalar() == 1


def test_the_inner_limit_counts(store: Database) -> None:
    with given_up(), time_limit(None), time_limit(0.05), store.read() as connection:
        connection.execute(NUMBERS)
    with time_limit(0.0), time_limit(None), store.read() as connection:
        assert connection.execute(ONE).scalar() == 1
