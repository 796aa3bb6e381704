"""The sandbox remembers across restarts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandbox.conftest import Desk


def test_a_restart_forgets_nothing(desk: Desk) -> None:
    before = desk.start()
    done, pending = desk.place("done"), desk.place("pending", lines=30)
    refused = desk.post(desk.order("timeout", note="[timeout-before]"))
    truth, balance = before.truth(), desk.get("AccountBalance").json()
    token = desk.token
    after = desk.start()
    assert after.truth() == truth
    bearer = {"Authorization": f"Bearer {token}"}
    assert desk.raw("GET", "/v1/AccountBalance", headers=bearer).json() == balance
    assert desk.read(done) == done
    assert refused.status_code == 504
    assert desk.post(desk.order("done")).status_code == 409
    assert desk.read(pending, after=1000)["Status"] == "Completed"
    answers = [desk.post(desk.order("timeout", note="[timeout-before]")).status_code for _ in range(2)]
    assert answers in ([201, 409], [504, 201])


def test_a_clock_that_goes_back_is_harmless(desk: Desk) -> None:
    desk.start()
    order = desk.place("po", lines=10)
    assert desk.read(order, after=-500)["Status"] == "Pending"
    assert desk.read(order, after=1500)["Status"] == "Completed"


def test_it_lives_without_a_file(desk: Desk) -> None:
    desk.path = Path(":memory:")
    desk.start()
    assert desk.place("po")["Status"] == "Completed"
