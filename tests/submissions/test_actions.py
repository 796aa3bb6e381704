"""Two windows of one person, or two people, ask for the same thing at the same moment."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest
from histories import History

from tracking.access import Person
from tracking.errors import NotAllowed
from tracking.storage.database import Database
from tracking.storage.maintenance.verify import verify
from tracking.submissions import actions, files, submit

ANN, BOB = Person("Ann"), Person("Bob")
FILE = "Type,ProductId,Value,Quantity,PONumber\n" + "\n".join(f"Links,CVS,10,1,{number:03d}" for number in range(120))


def test_the_same_file_from_two_windows_at_once_is_ordered_once(store: Database, now: datetime) -> None:
    windows = [
        files.read_csv(FILE.encode(), "f.csv", catalog=None, chunk=1000, now=now, database=store) for _ in range(2)
    ]

    def hand_in(window: int) -> list[submit.Receipt]:
        by = (ANN, BOB)[window]
        return submit.submit(store, windows[window], source="csv", by=by, now=now)

    with ThreadPoolExecutor(2) as pool:
        receipts = [receipt for found in pool.map(hand_in, range(2)) for receipt in found]
    assert Counter(receipt.outcome for receipt in receipts) == {"queued": 120, "exists": 120}
    assert len({receipt.order_id for receipt in receipts}) == 120
    assert verify(store) == []


def test_of_two_windows_that_send_an_order_again_one_does(store: Database, now: datetime) -> None:
    history = History(store, now)
    history.place("FT-1")
    history.refuse("FT-1")

    def again(by: Person) -> str:
        try:
            actions.resend(store, "FT-1", by=by, now=now)
        except NotAllowed as exc:
            return str(exc)
        return "sent"

    with ThreadPoolExecutor(2) as pool:
        said = sorted(pool.map(again, (ANN, BOB)))
    assert said[1] == "sent"
    assert "can be sent again" in said[0]


def test_a_window_that_still_shows_an_order_as_unknown_cannot_send_what_was_found_meanwhile(
    store: Database, now: datetime
) -> None:
    history = History(store, now)
    history.place("FT-1")
    history.lose("FT-1")
    history.accept("FT-1")
    with pytest.raises(NotAllowed, match="can be sent again"):
        actions.resend(store, "FT-1", by=ANN, now=now)
