"""Claim data sealed, kept and revealed: nothing of it is to be seen but by the one act that says so in the log."""

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet
from fakes import NOW, line, order_json, request

from tracking import ingest
from tracking.access import Access, Person
from tracking.errors import ClaimsUnavailable, NotPermitted, StoreBusy, UnknownOrder
from tracking.forecasting.planner import PlanningContext
from tracking.forecasting.waits import Policy
from tracking.orders.model import ClaimData, Witness
from tracking.orders.observations import Answered, Attempted, Observation, Polled
from tracking.provider.responses import ParsedOrder, read_order
from tracking.reports import order
from tracking.storage import claims
from tracking.storage.claims import ClaimCipher
from tracking.storage.database import Database
from tracking.storage.maintenance import verify
from tracking.storage.tables import CLAIMS, EVENTS, LINES
from tracking.submissions import actions
from tracking.submissions.actions import Revealed

KEY, OLD_KEY = Fernet.generate_key().decode(), Fernet.generate_key().decode()
ANN = Person("Ann")
UNITS = ClaimData(((("Claim link", "https://claim.example/1"), ("Challenge answer", "ABC123")), (("Code", "4711"),)))
TWO = (line("CVS", 10, 2, ExternalId="a"), line("AMAZON", 25, 1, ExternalId="b"))


@pytest.fixture
def vault() -> ClaimCipher:
    return ClaimCipher([KEY])


# Sealing


def test_what_is_sealed_opens_for_its_line_alone_and_shows_nothing_meanwhile(vault: ClaimCipher) -> None:
    sealed = vault.encrypt(UNITS, "FT-1", 3)
    assert vault.decrypt(sealed, "FT-1", 3) == UNITS
    assert "claim.example" not in sealed
    for po_number, number in (("FT-2", 3), ("FT-1", 4)):
        with pytest.raises(ClaimsUnavailable, match="encrypted for another line"):
            vault.decrypt(sealed, po_number, number)


def test_the_first_key_seals_and_all_of_them_open() -> None:
    sealed = ClaimCipher([OLD_KEY]).encrypt(UNITS, "FT-1", 1)
    rotated = ClaimCipher([KEY, OLD_KEY])
    assert rotated.decrypt(sealed, "FT-1", 1) == UNITS
    assert ClaimCipher([KEY]).decrypt(rotated.encrypt(UNITS, "FT-1", 1), "FT-1", 1) == UNITS


@pytest.mark.parametrize(
    "damage", [lambda sealed: sealed[:-4], lambda sealed: f"\xe4A{sealed}", lambda _: "", str.lower]
)
def test_what_no_key_opens_is_told_with_what_to_do(vault: ClaimCipher, damage: Callable[[str], str]) -> None:
    sealed = vault.encrypt(UNITS, "FT-1", 1)
    with pytest.raises(ClaimsUnavailable, match="TRACKING_CLAIMS_KEY"):
        ClaimCipher([OLD_KEY]).decrypt(sealed, "FT-1", 1)
    with pytest.raises(ClaimsUnavailable, match="TRACKING_CLAIMS_KEY") as caught:
        vault.decrypt(damage(sealed), "FT-1", 1)
    assert sealed[:20] not in str(caught.value)


def test_without_a_key_nothing_is_sealed_and_the_setting_is_named() -> None:
    assert not ClaimCipher().has_key
    with pytest.raises(ClaimsUnavailable, match="set TRACKING_CLAIMS_KEY"):
        ClaimCipher().encrypt(UNITS, "FT-1", 1)


def test_no_text_of_claim_data_shows_it(vault: ClaimCipher) -> None:
    shown = read_order(order_json(status="Completed"))
    revealed = Revealed(1, 1, 1, 1, UNITS.units[0])
    found = (1, "digest", UNITS)
    for value in (UNITS, shown, revealed, found, vault, [UNITS]):
        assert "claim.example" not in f"{value!r} {value} {value!s:>5}"
    assert repr(UNITS) == "ClaimData(2 units, not shown)"


# Keeping


class Desk:
    """One order of two lines, with a vault; `look` shows it Completed with these claim entries a line."""

    def __init__(self, store: Database, vault: ClaimCipher) -> None:
        self.store, self.at = store, NOW
        self.planner = PlanningContext(Policy(), random.Random(1), vault)
        self.order = store.write(
            lambda connection: ingest.place(connection, request("FT-1", *TWO), source="form", actor="Ann", now=NOW)
        )
        self.observe(Attempted(1))
        pending = read_order(order_json("BLK-1", "FT-1", "Pending", *TWO))
        self.observe(Answered(pending.snapshot), pending)

    def observe(self, seen: Any, shown: ParsedOrder | None = None) -> None:
        self.at += timedelta(seconds=10)
        observation = Observation(Witness.POLL, self.at, self.at, seen)
        self.store.write(
            lambda connection: ingest.observe(connection, self.order, observation, self.planner, parsed=shown)
        )

    def look(self, *entries: list[dict[str, Any]], po_number: str | None = "FT-1", turned: bool = False) -> None:
        raw = order_json("BLK-1", po_number, "Completed", *TWO)
        for shown, held in zip(raw["LineItems"], entries, strict=False):
            shown["ClaimData"] = held
        if turned:
            raw["LineItems"].reverse()
        shown = read_order(raw)
        self.observe(Polled(shown.snapshot), shown)

    def rows(self, table: sa.Table) -> list[dict[str, Any]]:
        with self.store.read() as connection:
            return [dict(row) for row in connection.execute(sa.select(table).order_by(*table.primary_key)).mappings()]

    def reveal(self, vault: ClaimCipher, line: int = 1, unit: int = 1, **more: Any) -> Revealed:
        return actions.reveal(self.store, vault, "FT-1", line, unit, by=ANN, now=self.at, **more)


def link(name: str) -> dict[str, str]:
    return {"ClaimLink": f"https://claim.example/{name}", "ClaimLinkChallengeAnswer": f"answer-{name}"}


FIRST = ([link("a1"), link("a2")], [link("b1")])
LATER = ([link("a3"), link("a4")], [link("b1")])


@pytest.fixture
def desk(store: Database, vault: ClaimCipher) -> Desk:
    return Desk(store, vault)


def test_claim_data_is_kept_once_encrypted_by_line(desk: Desk, vault: ClaimCipher) -> None:
    desk.look(*FIRST)
    desk.look(*FIRST)
    kept = desk.rows(CLAIMS)
    assert [(row["number"], row["units"]) for row in kept] == [(1, 2), (2, 1)]
    assert "claim.example" not in str(kept)
    assert vault.decrypt(kept[1]["sealed"], "FT-1", 2).units[0][0] == ("Claim link", "https://claim.example/b1")
    assert verify.verify(desk.store) == []


def test_claim_data_goes_to_the_line_it_was_shown_for_in_whatever_order_lines_are_shown(
    desk: Desk, vault: ClaimCipher
) -> None:
    desk.look(*FIRST, turned=True)
    assert dict(desk.reveal(vault, 2).data)["Claim link"] == "https://claim.example/b1"


def test_the_first_and_each_later_version_is_kept_up_to_a_bound(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "VERSIONS_STORED", 3)
    for turn in range(5):
        desk.look([link(f"a{turn}"), link("x")], [link("b1")])
    known = claims.claim_versions(desk.store, desk.order, 1)
    assert [units for units, _ in known] == [2, 2, 2]
    assert sorted(since for _, since in known) == [since for _, since in known]
    assert len(claims.claim_versions(desk.store, desk.order, 2)) == 1


def test_without_a_key_claim_data_is_counted_as_before(store: Database) -> None:
    desk = Desk(store, ClaimCipher())
    desk.look(*FIRST)
    assert desk.rows(CLAIMS) == []
    assert [row["claims"] for row in desk.rows(LINES)] == [2, 1]
    with pytest.raises(ClaimsUnavailable, match="set TRACKING_CLAIMS_KEY"):
        desk.reveal(ClaimCipher())


def test_what_was_not_kept_is_kept_by_the_look_a_person_asks_for(store: Database, vault: ClaimCipher) -> None:
    desk = Desk(store, ClaimCipher())
    desk.look(*FIRST)
    with pytest.raises(ClaimsUnavailable, match="is stored; poll the order"):
        desk.reveal(vault)
    desk.planner = replace(desk.planner, cipher=vault)
    actions.check_now(store, "FT-1", by=ANN, now=desk.at)
    with store.read() as connection:
        assert connection.execute(sa.text("SELECT digest FROM orders")).scalar() is None, "the look must be a whole one"
    desk.look(*FIRST)
    assert desk.reveal(vault).data[0] == ("Claim link", "https://claim.example/a1")


def test_a_line_whose_recipient_was_erased_gets_no_claim_data_again(desk: Desk) -> None:
    erased = sa.update(LINES).where(LINES.c.number == 1).values(recipient_hash="hash", recipient_salt=None)
    desk.store.write(lambda connection: connection.execute(erased))
    desk.look(*FIRST)
    assert [row["number"] for row in desk.rows(CLAIMS)] == [2]


def test_nothing_of_another_order_shown_under_this_ones_id_is_kept(desk: Desk) -> None:
    desk.look(*FIRST, po_number="FT-2")
    assert desk.rows(CLAIMS) == []
    assert [row["claim_digest"] for row in desk.rows(LINES)] == [None, None]


# Revealing


def test_one_unit_is_revealed_and_the_log_says_who_saw_it(desk: Desk, vault: ClaimCipher) -> None:
    desk.look(*FIRST)
    revealed = desk.reveal(vault, 1, 2)
    assert revealed.data == (("Claim link", "https://claim.example/a2"), ("Challenge answer", "answer-a2"))
    assert (revealed.version, revealed.versions) == (1, 1)
    last = desk.rows(EVENTS)[-1]
    assert (last["kind"], last["witness"]) == ("revealed", "person")
    assert last["detail"] == {"line": 1, "unit": 2, "actor": "Ann"}
    assert verify.verify(desk.store) == []


def test_earlier_versions_can_be_revealed_too(desk: Desk, vault: ClaimCipher) -> None:
    desk.look(*FIRST)
    desk.look(*LATER)
    newest, first = desk.reveal(vault), desk.reveal(vault, version=1)
    assert (newest.version, newest.versions, newest.data[0][1]) == (2, 2, "https://claim.example/a3")
    assert (first.version, first.versions, first.data[0][1]) == (1, 2, "https://claim.example/a1")
    assert [row["detail"].get("version") for row in desk.rows(EVENTS) if row["kind"] == "revealed"] == [2, 1]


def test_a_viewer_sees_nothing_and_leaves_no_trace(desk: Desk, vault: ClaimCipher) -> None:
    desk.look(*FIRST)
    with pytest.raises(NotPermitted):
        actions.reveal(desk.store, vault, "FT-1", 1, 1, by=Person("Vic", Access.VIEWER), now=desk.at)
    assert "revealed" not in {row["kind"] for row in desk.rows(EVENTS)}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"unit": 3}, "no unit 3 .* only 1 to 2"),
        ({"unit": 0}, "no unit 0"),
        ({"version": 2}, "no version 2"),
        ({"version": 0}, "no version 0"),
        ({"line": 9}, "no claim data of line 9"),
    ],
)
def test_what_is_not_there_is_told_and_leaves_no_trace(
    desk: Desk, vault: ClaimCipher, asked: dict[str, int], said: str
) -> None:
    desk.look(*FIRST)
    with pytest.raises(ClaimsUnavailable, match=said):
        desk.reveal(vault, **asked)
    assert "revealed" not in {row["kind"] for row in desk.rows(EVENTS)}


def test_rows_that_were_swapped_or_changed_or_sealed_with_another_key_reveal_nothing(
    desk: Desk, vault: ClaimCipher
) -> None:
    desk.look([link("a1")], [link("b1")])
    with pytest.raises(ClaimsUnavailable, match="TRACKING_CLAIMS_KEY"):
        desk.reveal(ClaimCipher([OLD_KEY]))
    sealed = {row["number"]: row["sealed"] for row in desk.rows(CLAIMS)}

    def change(**values: Any) -> None:
        statement = sa.update(CLAIMS).where(CLAIMS.c.number == 1).values(**values)
        desk.store.write(lambda connection: connection.execute(statement))

    change(units=2)
    with pytest.raises(ClaimsUnavailable, match="changed by hand"):
        desk.reveal(vault, unit=2)
    change(units=1, sealed=sealed[2])
    with pytest.raises(ClaimsUnavailable, match="moved by hand"):
        desk.reveal(vault)
    assert "revealed" not in {row["kind"] for row in desk.rows(EVENTS)}


def test_what_is_not_committed_is_not_revealed(desk: Desk, vault: ClaimCipher, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.look(*FIRST)
    write = desk.store.write

    def cut_off(job: Callable[[sa.Connection], Any]) -> Any:
        def cut(connection: sa.Connection) -> None:
            job(connection)
            monkeypatch.setattr(
                ClaimCipher, "decrypt", None
            )  # whoever opens anything from now on does not get past this
            raise StoreBusy("the disk is full")

        return write(cut)

    monkeypatch.setattr(desk.store, "write", cut_off)
    with pytest.raises(StoreBusy):
        desk.reveal(vault)
    assert "revealed" not in {row["kind"] for row in desk.rows(EVENTS)}


def test_an_unknown_order_reveals_nothing(desk: Desk, vault: ClaimCipher) -> None:
    with pytest.raises(UnknownOrder):
        actions.reveal(desk.store, vault, "FT-9", 1, 1, by=ANN, now=desk.at)


def test_the_story_tells_who_saw_what_and_the_json_only_counts(desk: Desk, vault: ClaimCipher) -> None:
    desk.look(*FIRST)
    desk.look(*LATER)
    desk.reveal(vault, 1, 2)
    told = order.order_record(desk.store, desk.order)
    texts = [row["text"] for row in told["timeline"]]
    assert texts[-1] == "Ann revealed the claim data of unit 2 of line 1"
    assert "Claim data changed, lines: 1" in texts
    assert [row["claims"] for row in told["lines"]] == [2, 1]
    assert "claim.example" not in str(told)
    assert claims.claim_lines(desk.store, desk.order) == (1, 2)
