from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

from tracking.app.drafts import delete_old_drafts, owner_of
from tracking.app.preferences import RENEWED_AFTER, Preferences, load_preferences, save_preferences
from tracking.storage.database import Database

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
ANN = owner_of("preferences of browser", "a")


def test_preferences_are_their_owners_alone_and_a_visit_a_day_keeps_them(store: Database) -> None:
    assert load_preferences(store, ANN, NOW) == Preferences(name="", times="UTC")
    chosen = Preferences(name="Ann", times="local")
    save_preferences(store, ANN, chosen, NOW)
    assert load_preferences(store, owner_of("preferences of browser", "b"), NOW) == Preferences()
    later = NOW
    for _ in range(8):
        later += RENEWED_AFTER + timedelta(hours=1)
        assert load_preferences(store, ANN, later) == chosen
        store.write(partial(delete_old_drafts, now=later))
    save_preferences(store, ANN, replace(chosen, times="relative"), later)
    assert load_preferences(store, ANN, later).times == "relative"
    store.write(lambda connection: delete_old_drafts(connection, later + timedelta(days=8)))
    assert load_preferences(store, ANN, later) == Preferences()
