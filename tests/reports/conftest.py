import pytest
from histories import History

from tracking.storage.database import Database


@pytest.fixture
def history(store: Database) -> History:
    """Makes orders in the store."""
    return History(store)
