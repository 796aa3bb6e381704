"""What people do: as they are told, as the orders' logs tell it and as the audit log does; all three agree (I15).

Each act of a person on one order has its entry in the audit log in the same transaction, each change of a job too, and
there is no entry without its act. What nothing forbids is done, what something forbids is not.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from evidence import Violation

from tracking.access import Access, Person
from tracking.errors import StoreError
from tracking.storage.database import Database

if TYPE_CHECKING:
    from world import World

CLOSED = {"Completed", "Cancelled", "Refused"}
RESENDABLE = {"Outcome unknown", "Refused"}
ASKED = {"check": "poll requested", "resend": "resent"}
SAME_WORD = ("noted", "acknowledged", "assigned", "snoozed", "snooze ended", "reopened", "approved", "declined")
ON_ORDERS = {*ASKED.values(), *SAME_WORD, "submitted"}
ON_JOBS = {"job started", "job stopped", "job resumed", "imported"}
KINDS = {
    "check": "poll requested",
    "poll": "poll requested",
    "resend": "resent",
    "note": "noted",
    "acknowledge": "acknowledged",
    "assign": "assigned",
    "snooze": "snoozed",
    "end snooze": "snooze ended",
    "reopen": "reopened",
    "approve": "approved",
    "decline": "declined",
}
ON_HOOKS = ("webhook paused", "webhook resumed", "webhook sent again")
SELECT_ENTRIES = "SELECT seq, at, person, signed_in, kind, order_id, job_id, detail, previous FROM audit_log"
Facts = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Deed:
    """What somebody asks for: by its word, of whom, and what it is given (`to` a name, `until` as it is stored)."""

    what: str
    by: Person
    given: Mapping[str, Any] = field(default_factory=dict)


def needs_decision(facts: Facts) -> bool:
    """Whether the order waits for somebody's decision."""
    return facts["attention"] is not None and facts["acknowledged_at"] is None


def forbids(facts: Facts, deed: Deed) -> str | None:
    """Why nobody can do this with such an order, in the simulation's own words; None where it must be done."""
    match deed.what:
        case "check" | "poll":
            return "the provider has not named it" if facts["provider_id"] is None else None
        case "resend":
            sendable = facts["provider_id"] is None and facts["state"] in RESENDABLE
            judged = facts["approval"] in {"waiting", "declined"}
            return None if sendable and not judged and not facts["erased"] else "it cannot be sent again"
        case "snooze":
            return None if facts["state"] not in CLOSED or needs_decision(facts) else "nobody waits for it"
        case "end snooze":
            return "it is not snoozed" if facts["snoozed_at"] is None else None
        case "assign":
            return "it is theirs" if facts["assignee"] == deed.given["to"] else None
        case "reopen":
            acknowledged = facts["attention"] is not None and facts["acknowledged_at"] is not None
            return None if acknowledged else "it is not acknowledged"
        case "approve" | "decline":
            return _forbids_judging(facts, deed)
        case _:
            return None


def _forbids_judging(facts: Facts, deed: Deed) -> str | None:
    if facts["approval"] != "waiting":
        return "it does not wait for an approval"
    if deed.what == "approve" and facts["state"] != "Queued":
        return "it is not queued any more"
    if not deed.by.signed_in or deed.by.access is not Access.OPERATOR:
        return "they may not judge"
    if deed.by.name.casefold() == (facts["actor"] or "").casefold():
        return "they submitted it"
    return None


def skips(facts: Facts, deed: Deed) -> str | None:
    """Why a job passes over such an order: what is forbidden, and what would change nothing."""
    match deed.what:
        case "acknowledge":
            return None if needs_decision(facts) else "it needs no decision"
        case "snooze" if facts["snoozed_at"] is not None and facts["snoozed_until"] == deed.given["until"]:
            return "it is snoozed until then"
        case "resend" if facts["state"] == "Refused" and facts["attention_reason"] == "ponumber mismatch":
            return "its PONumber is another order's"
        case _:
            return forbids(facts, deed)


def came_about(row: Facts, deed: Deed) -> bool:
    """Whether the order's row is as the deed leaves it."""
    match deed.what:
        case "check":
            return row["next_look_at"] is not None
        case "resend":
            return bool(row["submission"] in {"queued", "unknown"})
        case "acknowledge":
            return row["acknowledged_at"] is not None
        case "snooze":
            return row["snoozed_at"] is not None and row["snoozed_until"] == deed.given["until"]
        case "end snooze":
            return row["snoozed_at"] is None
        case "assign":
            return bool(row["assignee"] == deed.given["to"])
        case "reopen":
            return row["acknowledged_at"] is None
        case "approve" | "decline":
            return bool(row["approval"] == f"{deed.what}d")
        case _:
            return True


class Deeds:
    """Watches that what people did is done, is told, and is in the audit log. Raises Violation."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self._entries: list[Any] = []
        self._events: Counter[tuple[int, str, str]] = Counter()
        self._latest: Counter[tuple[int, str, str]] = Counter()

    # What people do

    def do(self, deed: Deed, po_number: str, ask: Callable[[Database, datetime], object]) -> bool:
        """A person does something with one order; True where they are told that it is done."""
        if not self.world.consoles:
            return False
        console, row = self.world.consoles[0], self.world.auditor.order(po_number)
        forbidden = "there is no such order" if row is None else forbids(row, deed)
        self._latest = Counter()
        console.at_once(ask)
        error = console.error
        if isinstance(error, StoreError) or console.dead:
            return error is None
        if error is not None:
            if forbidden is None:
                raise Violation("I15", f"{po_number}: {deed.what} was refused, and nothing forbids it: {error}")
            return False
        if forbidden is not None:
            raise Violation("I15", f"{po_number}: {deed.what} was taken, although {forbidden}")
        self._check_done(deed, po_number)
        return True

    def _check_done(self, deed: Deed, po_number: str) -> None:
        row = self.world.auditor.order(po_number)
        assert row is not None
        if self._latest != Counter({(row["id"], KINDS[deed.what], deed.by.name): 1}):
            raise Violation("I15", f"{po_number}: {deed.what} was taken, and the log tells of {dict(self._latest)}")
        if not came_about(row, deed):
            raise Violation("I15", f"{po_number}: {deed.what} was taken, and did not come about")

    # What must hold

    def appended(self, order_id: int, event: Mapping[str, Any]) -> None:
        """An event was folded into its order."""
        detail, kind = event["detail"], event["kind"]
        if kind == "requested" and event["changes"]["source"] == "form":
            self._events[order_id, "submitted", event["changes"]["actor"]] += 1
        elif event["witness"] == "person" and detail.get("job") is None:
            self._events[order_id, ASKED.get(detail.get("what"), kind), detail["actor"]] += 1

    def committed(self, of_jobs: Iterable[tuple[int, str, str]]) -> None:
        """A transaction is over: its acts, those on jobs too, and its entries of the audit log are the same."""
        raw = self.world.file.raw
        entries = raw.execute(f"{SELECT_ENTRIES} WHERE seq > ? ORDER BY seq", (len(self._entries),)).fetchall()
        done, self._events = self._events + Counter(of_jobs), Counter()
        self._latest = done
        self._entries += entries
        if not entries and not done:
            return
        written: Counter[tuple[int, str, str]] = Counter()
        for _, _, person, _, kind, order_id, job_id, _, _ in entries:
            if kind in ON_ORDERS and order_id is not None:
                written[order_id, kind, person] += 1
            elif kind in ON_JOBS:
                written[job_id, kind, person] += 1
            elif kind not in {"submitted", *ON_HOOKS}:
                raise Violation("I15", f"the audit log has an entry {kind!r}, and nobody did that")
        if missing := done - written:
            raise Violation("I15", f"done, and not in the audit log: {sorted(missing)}")
        # Whoever submits an order that is there already has submitted it, and nothing comes of it.
        if invented := [one for one in written - done if one[1] != "submitted"]:
            raise Violation("I15", f"in the audit log, and not done: {sorted(invented)}")

    def ended(self) -> None:
        """The history is over: no entry was changed after it was written."""
        if self.world.file.raw.execute(f"{SELECT_ENTRIES} ORDER BY seq").fetchall() != self._entries:
            raise Violation("I15", "an entry of the audit log was changed after it was written")
