"""What must hold at every moment, checked on a connection of its own against the truth that the simulator knows.

| | |
| --- | --- |
| I0 | every request that was acknowledged exists, as it was asked for, and nothing exists that nobody asked for |
| I1 | the provider gets one order at most for each intended one, under the PONumber that was committed for it |
| I2 | a state is shown only with its proof: Completed after the truth and a GET of it, Refused after a refusal |
| I3 | a terminal state is never left |
| I4 | a notice answered with 2xx has its row, and makes its order due |
| I5 | what the provider finishes is finished here within a bound once the mishaps stop; nothing hangs in between |
| I6 | the log is append-only and gap-free; rows, lines and counters are what it adds up to |
| I7 | what is to be done next is in the store: a killed process loses no due time |
| I8 | no more calls than the budget allows, no order asked too often, Retry-After obeyed, no loop running hot |
| I9 | no POST without its committed intent and attempt |
| I10 | a call that proves nothing changes nothing and leaves a bounded trace |
| I12 | values add up, in whole minor units |
| I13 | nothing above the limit is sent before a second person whom a sign-in proves approved it; one judgment counts |
| I14 | a job touches each order once, a stopped one none; a snooze ends with trouble: see `teamwork` |
| I15 | what people did, were told and find in the audit log is the same: see `deeds` |
| I17 | what other systems were promised comes in order, under one id: see `outbound`, and of late orders `latecomers` |
| I18 | a lasting trouble is told of once to each service, and once when it is over: see `alarms` |
| I16 | what left the store is in an archive as it was written, and proves itself: see `retention` |
"""

import json
import zlib
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any

from adapters import KEPT_REFUSALS, digest_of_address
from evidence import TERMINAL, Violation
from marketplace import EPSILON, START, Placed
from teamwork import event_of

from tracking.orders.model import ORDER_FIELDS, Order, expand_numbers

if TYPE_CHECKING:
    from world import World

UNSETTLED = {"queued", "sending", "unknown"}
BESIDE = ("id", "events_removed", "event_count", "next_look_at", "lease_until", "line_count")
COLUMNS = (*BESIDE, *ORDER_FIELDS)
COMMITS_A_SECOND = 200
TIMES = frozenset(
    name for name in ORDER_FIELDS if name.endswith(("_at", "_after", "_by", "_until")) and name != "acknowledged_by"
)
DEFAULTS = {
    one.name: None if one.default is MISSING else one.default for one in fields(Order) if one.name in ORDER_FIELDS
}
SELECT_ORDERS = f"SELECT {', '.join(COLUMNS)} FROM orders ORDER BY id"
SELECT_EVENTS = (
    "SELECT id, order_id, seq, kind, witness, happened_at, learned_at, changes, line_changes, detail FROM events"
)
SELECT_LINES = "SELECT number, product_id, value_minor, quantity, status, claims, cost_minor, external_id FROM lines"
SELECT_UNSENT = (
    "SELECT order_id, max(next_attempt_at, coalesce(lease_until, '')) FROM outbox WHERE NOT done AND NOT held"
)
SELECT_HELD = "SELECT order_id FROM outbox WHERE NOT done AND held"
SELECT_COUNTERS = "SELECT name, hour, state, orders, units, value_minor FROM counters"


@dataclass(slots=True)
class Folded:
    """An order as its log tells it."""

    facts: dict[str, Any] = field(default_factory=dict)
    lines: dict[int, dict[str, Any]] = field(default_factory=dict)
    seq: int = 0
    stale: bool = True


class Auditor:
    """Looks at everything that changed after each step. Raises Violation."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.raw = world.file.raw
        self.digest = 0
        self._rows: dict[int, dict[str, Any]] = {}
        self._raw_rows: list[Any] = []
        self._folded: dict[int, Folded] = {}
        self._events: list[Any] = []
        self._counts: dict[tuple[str, str, str], list[int]] = {}
        self._accepted_notices: dict[str, str] = {}
        self._forged: list[str] = []
        self._commits: deque[float] = deque(maxlen=COMMITS_A_SECOND)
        # Read when it is asked for, and true until the next transaction.
        self._outbox: dict[int, str] | None = None
        self._discovery: tuple[str | None] | None = None
        self._since_start: dict[str, float] = {}

    # What is due, as the loops see it

    def look_due(self) -> float | None:
        """When the next look is due, in true seconds."""
        planned = (
            max(row["next_look_at"], row["lease_until"] or "") for row in self._rows.values() if row["next_look_at"]
        )
        return self.at_the_latest(self.seconds(min(planned, default=None)))

    def attempt_due(self) -> float | None:
        """When the next attempt is due; soon while one is under way, as its worker may be gone."""
        due = self.seconds(min(self._unsent().values(), default=None))
        if any(row["submission"] == "sending" for row in self._rows.values()):
            soon = self.world.now + 30
            return soon if due is None else min(due, soon)
        return self.at_the_latest(due)

    def discovery_due(self) -> float | None:
        """When the list is to be walked next."""
        if self._discovery is None:
            found = self.raw.execute("SELECT value FROM facts WHERE key = 'discover'").fetchone()
            self._discovery = (None if found is None else _stored(json.loads(found[0])["next_at"]),)
        [next_at] = self._discovery
        return self.world.now if next_at is None else self.at_the_latest(self.seconds(next_at))

    def at_the_latest(self, due: float | None) -> float | None:
        """The loops tick all the time. That shows only where a clock was set back: they see to what lies ahead."""
        return due if due is None or not self.world.back_steps else min(due, self.world.now + 30)

    def _unsent(self) -> dict[int, str]:
        """By order, when the next attempt may begin."""
        if self._outbox is None:
            self._outbox = dict(self.raw.execute(SELECT_UNSENT).fetchall())
        return self._outbox

    def _held(self) -> set[int]:
        """The orders whose request waits for an approval."""
        return {row[0] for row in self.raw.execute(SELECT_HELD)}

    def seconds(self, stored: str | None) -> float | None:
        if stored is None:
            return None
        since_start = self._since_start.get(stored)
        if since_start is None:
            since_start = (datetime.fromisoformat(stored + "+00:00") - START).total_seconds()
            self._since_start[stored] = since_start
        return since_start - self.world.skew + EPSILON

    # Steps

    def stumbled(self, what: str) -> None:
        """Something failed in a way that is nobody's doing but the product's."""
        self.world.violated(Violation("I5", what))

    def order(self, po_number: str) -> Mapping[str, Any] | None:
        """The order's row as it was last committed."""
        return next((row for row in self._rows.values() if row["po_number"] == po_number), None)

    def facts(self, order_id: int) -> Mapping[str, Any]:
        """What its log says of an order."""
        return self._folded[order_id].facts

    def state_at(self, order_id: int, seq: int) -> str | None:
        """In which state the order was after this event of its log."""
        own = [event[7] for event in self._events if event[1] == order_id and event[2] <= seq]
        states = (json.loads(changes).get("state") for changes in reversed(own))
        return next((state for state in states if state), None)

    def knows(self, provider_id: str) -> bool:
        """Whether the console calls an order so."""
        return any(str(row["provider_id"]).upper() == provider_id.upper() for row in self._rows.values())

    def committed(self) -> None:
        """A transaction is over: everything that changed must be in order."""
        now = self.world.now
        if len(self._commits) == COMMITS_A_SECOND and now - self._commits[0] < 1:
            raise Violation("I8", f"{COMMITS_A_SECOND} transactions within a second")
        self._commits.append(now)
        self._outbox = self._discovery = None
        events = self.raw.execute(f"{SELECT_EVENTS} WHERE id > ? ORDER BY id", (len(self._events),)).fetchall()
        rows = self.raw.execute(SELECT_ORDERS).fetchall()
        if not events and rows == self._raw_rows:
            return
        before, self._raw_rows = self._raw_rows, rows
        self.digest = zlib.crc32(repr((now, events)).encode(), self.digest)
        known = {row[0]: row for row in before}
        touched = {row[0] for row in rows if row != known.get(row[0])}
        self._rows = {
            row[0]: dict(zip(COLUMNS, row, strict=True)) if row[0] in touched else self._rows[row[0]] for row in rows
        }
        for event in events:
            touched.add(self._append(event))
        for order_id in sorted(touched):
            self._check_row(self._rows[order_id])
        if events:
            self._check_counters()
        self._check_requests()

    def _append(self, event: Sequence[Any]) -> int:
        """Folds an event into its order, as a reader of the log would."""
        event_id, order_id, seq, kind, _, _, _, _, line_changes, _ = event
        if event_id != len(self._events) + 1:
            raise Violation("I6", f"event {event_id} follows event {len(self._events)}")
        self._events.append(event)
        folded = self._folded.get(order_id)
        row = self._rows.get(order_id)
        if row is None:
            raise Violation("I6", f"event {event_id} is of an order that does not exist")
        if folded is None:
            lines = self.raw.execute(f"{SELECT_LINES} WHERE order_id = ?", (order_id,)).fetchall()
            blank = {line[0]: {"status": "Pending", "claims": 0, "cost_minor": None} for line in lines}
            folded = self._folded[order_id] = Folded(dict(DEFAULTS), blank)
        if seq != folded.seq + 1:
            raise Violation("I6", f"{row['po_number']}: event {seq} follows event {folded.seq}")
        folded.seq = seq
        facts = dict(folded.facts)
        before, needed = None if seq == 1 else facts["state"], self._needs_decision(facts)
        entry = event_of(event)
        for name, value in entry["changes"].items():
            if name in folded.facts:
                folded.facts[name] = _stored(value) if name in TIMES else value
        for change in json.loads(line_changes):
            folded.stale = True
            for number in expand_numbers(change["numbers"]):
                folded.lines[number].update({name: value for name, value in change.items() if name != "numbers"})
        self.world.approvals.check_event(row["po_number"], kind, facts["approval"], folded.facts["approval"])
        after = folded.facts["state"]
        if before in TERMINAL and after != before:
            raise Violation("I3", f"{row['po_number']} went from {before} to {after} ({kind})")
        if before != after:
            self._moved(folded.facts, before, event[6], "Found " if entry["detail"].get("first_sight") else "")
            self.world.evidence.check_move(folded.facts, row["po_number"], before, after)
        self.world.teamwork.appended(order_id, row["po_number"], entry, facts, folded.facts)
        self.world.deeds.appended(order_id, entry)
        if (needs := self._needs_decision(folded.facts)) != needed:
            self._add(folded.facts, [("decisions", _hour(event[6]), "needed" if needs else "settled", 1)])
        return int(order_id)

    def _moved(self, facts: Mapping[str, Any], before: str | None, learned_at: str, found: str) -> None:
        born, hour = _hour(facts["created_at"]), _hour(learned_at)
        moves = [("stock", born, facts["state"], 1), ("flow", hour, found + facts["state"], 1)]
        moves += [("stock", born, before, -1), ("left", hour, before, 1)] if before else []
        self._add(facts, moves)

    @staticmethod
    def _needs_decision(facts: Mapping[str, Any]) -> bool:
        return facts["attention"] is not None and facts["acknowledged_at"] is None

    def _add(self, facts: Mapping[str, Any], moves: Iterable[tuple[str, str, str, int]]) -> None:
        for name, at, state, sign in moves:
            counts = self._counts.setdefault((name, at, state), [0, 0, 0])
            for position, amount in enumerate((1, facts["units"] or 0, facts["value_minor"] or 0)):
                counts[position] += sign * amount

    # Rows

    def _check_row(self, row: Mapping[str, Any]) -> None:
        po_number, folded = row["po_number"], self._folded.get(row["id"])
        if folded is None:
            raise Violation("I6", f"{po_number} has no log")
        if folded.seq != row["event_count"]:
            raise Violation("I6", f"{po_number} says {row['event_count']} events, its log has {folded.seq}")
        for name, value in folded.facts.items():
            if row[name] != value:
                raise Violation("I6", f"{po_number}: {name} is {row[name]!r}, its log says {value!r}")
        if folded.stale and not row["events_removed"]:
            self._check_lines(row, folded)
        watched = row["provider_id"] is not None and row["state"] not in {*TERMINAL, "Refused"}
        if watched and row["next_look_at"] is None:
            raise Violation("I7", f"{po_number} is {row['state']} and no look is planned in the store")
        held = row["approval"] is not None and row["id"] in self._held()
        self.world.approvals.check_row(row, held=held, unsent=row["id"] in self._unsent())
        if row["submission"] in UNSETTLED and row["id"] not in self._unsent() and not held:
            raise Violation("I7", f"{po_number} is {row['state']} and no attempt is planned in the store")

    def _check_lines(self, row: Mapping[str, Any], folded: Folded) -> None:
        po_number, folded.stale = row["po_number"], False
        lines = self.raw.execute(f"{SELECT_LINES} WHERE order_id = ?", (row["id"],)).fetchall()
        for number, _, _, _, status, claims, cost, _ in lines:
            if folded.lines[number] != {"status": status, "claims": claims, "cost_minor": cost}:
                raise Violation("I6", f"{po_number}: line {number} differs from its log")
        intended = self.world.evidence.intended.get(po_number)
        if intended is not None and row["source"] != "elsewhere":
            kept = sorted((line[1], line[2], line[3], line[7]) for line in lines)
            if kept != sorted(intended.lines) or row["value_minor"] != intended.value_minor:
                raise Violation("I12", f"{po_number} is kept as {kept}, asked for was {sorted(intended.lines)}")

    def _check_counters(self) -> None:
        stored = {
            (name, hour, state): [orders, units, value]
            for name, hour, state, orders, units, value in self.raw.execute(SELECT_COUNTERS)
        }
        if stored != self._counts:
            odd = next(key for key in stored.keys() | self._counts.keys() if stored.get(key) != self._counts.get(key))
            raise Violation("I6", f"counter {odd} is {stored.get(odd)}, the log says {self._counts.get(odd)}")
        in_need = sum(
            numbers[0] * (1 if state == "needed" else -1)
            for (name, _, state), numbers in stored.items()
            if name == "decisions"
        )
        if in_need != sum(self._needs_decision(row) for row in self._rows.values()):
            raise Violation(
                "I6", f"{in_need} orders need a decision by the counters, by their rows it is another number"
            )
        in_stock = sum(value for (name, _, _), (_, _, value) in stored.items() if name == "stock")
        if in_stock != sum(row["value_minor"] for row in self._rows.values()):
            raise Violation("I12", "the values of all states do not add up to the value asked for")

    def _check_requests(self) -> None:
        names = {row["po_number"] for row in self._rows.values()}
        for intended in self.world.evidence.intended.values():
            if intended.acknowledged and intended.po_number not in names:
                raise Violation("I0", f"{intended.po_number} was acknowledged and is not there")
        for name in names:
            asked_for = name in self.world.evidence.intended and self.world.evidence.intended[name].handed_in
            if not asked_for and name not in self.world.market.by_po:
                raise Violation("I0", f"{name} is there, and nobody asked for it")

    # Notices

    def notice_answered(self, digests: frozenset[str], po_number: str | None) -> None:
        """A notice was answered with 2xx: it will never be forgotten, under one of these digests."""
        stored = digests & {row[0] for row in self.raw.execute("SELECT digest FROM callbacks").fetchall()}
        self._accepted_notices[next(iter(stored), min(digests))] = po_number or ""
        self._check_notices()
        query = "SELECT state, provider_id, next_look_at FROM orders WHERE po_number = ?"
        row = self.raw.execute(query, (po_number,)).fetchone() if po_number else None
        if row and row[1] is not None and row[0] not in {*TERMINAL, "Refused"}:
            due = self.seconds(row[2])
            allowed = self.world.now + 30 + self.world.back_steps
            if due is None or due > allowed + 1:
                raise Violation("I4", f"{po_number} was announced and is not looked at before {due}")

    def _check_notices(self) -> None:
        kept = {row[0] for row in self.raw.execute("SELECT digest FROM callbacks WHERE outcome <> 'refused'")}
        if missing := self._accepted_notices.keys() - kept:
            raise Violation("I4", f"{len(missing)} notices were answered with 204 and are not in the store")

    def forget_notices(self, digests: Iterable[str]) -> None:
        """Notices of orders whose log left are gone with it."""
        for digest in digests:
            self._accepted_notices.pop(digest, None)

    def changes_of(self, order_id: int) -> list[str]:
        """What each event of the order changed, as it was written."""
        own = (event[7] for event in self._events if event[1] == order_id)
        return [json.dumps(json.loads(changes), sort_keys=True) for changes in own]

    def genuine_turned_away(self, po_number: str) -> None:
        """A notice at an order's own address was refused although nothing in it names another order."""
        raise Violation("I4", f"a genuine notice for {po_number} was turned away")

    def is_in_use(self, token: str) -> bool:
        """Whether the address was given to the provider with an order."""
        query = "SELECT 1 FROM addresses WHERE digest = ?"
        return self.raw.execute(query, (digest_of_address(token),)).fetchone() is not None

    def strange_answered(self, status: int, *, in_use: bool) -> None:
        """A call of an order's own address with a strange body was answered."""
        if in_use and status == 404:
            raise Violation("I4", "a call of an order's own address was turned away for its body")

    def forged_answered(self, status: int, digests: frozenset[str]) -> None:
        """A call that proves nothing was answered."""
        if status not in {404, 503}:
            raise Violation("I10", f"a call that proves nothing was answered with {status}")
        self._forged.extend(digests)
        found = self.raw.execute("SELECT digest FROM callbacks WHERE outcome <> 'refused'").fetchall()
        if any(row[0] in self._forged for row in found):
            raise Violation("I10", "a call that proves nothing was stored as a notice")
        refused = self.raw.execute("SELECT count(*) FROM callbacks WHERE outcome = 'refused' AND digest IS NULL")
        if (count := refused.fetchone()[0]) > KEPT_REFUSALS:
            raise Violation("I10", f"{count} refusals are kept, at most {KEPT_REFUSALS} should be")

    # After a crash, and at the end

    def due_times(self) -> Mapping[str, Any]:
        """What is planned in the store."""
        looks = self.raw.execute("SELECT po_number, next_look_at FROM orders").fetchall()
        sends = self.raw.execute("SELECT order_id, next_attempt_at FROM outbox WHERE NOT done").fetchall()
        return dict(looks) | dict(sends)

    def started(self, before: Mapping[str, Any]) -> None:
        """A console has taken over: what was planned is planned as before."""
        if before != self.due_times():
            raise Violation("I7", "what was planned before the restart is not planned after it")

    def unsettled(self) -> list[str]:
        """What is still to come: (mishaps apart) every order with a known end must reach it here."""
        return [text for text, _ in self.waiting()]

    def waiting(self) -> Iterable[tuple[str, float]]:
        """What is not yet as it must become, and since when it could have been."""
        world = self.world
        by_id = {str(row["provider_id"]).upper(): row for row in self._rows.values()}
        by_po = {row["po_number"]: row for row in self._rows.values()}
        for placed in world.market.orders.values():
            if placed.done_at is None or not self._expected_here(placed):
                continue
            row = by_id.get(placed.id)
            if row is None and placed.po_number in self.world.evidence.declined and not world.climate.discover_every:
                continue  # placed by an attempt that was overtaken by one that was refused: only the list tells
            if row is None or row["state"] != placed.end:
                state = row["state"] if row else "unknown here"
                yield f"{placed.id} ({placed.po_number}) is {placed.end} there, {state} here", placed.done_at
        for placed in world.market.orders.values():
            row = by_id.get(placed.id)
            if placed.unproven_at is not None and row is not None and row["attention"] is None:
                yield f"{placed.id} is completed there without proof, and nobody is asked to look", placed.unproven_at
        for intended in self.world.evidence.intended.values():
            row = by_po.get(intended.po_number)
            if row is not None and row["submission"] in UNSETTLED and row["approval"] != "waiting":
                yield f"{intended.po_number} is {row['state']} and goes on hanging", world.calm_at

    def _expected_here(self, placed: Placed) -> bool:
        if placed.source == "elsewhere":
            return self.world.climate.discover_every > 0 and placed.po_number not in self.world.evidence.intended
        # Several ids for one PONumber are for a person; without discovery nobody learns better.
        return placed.po_number not in self.world.evidence.several_named or self.world.climate.discover_every > 0

    def ended(self) -> None:
        """The history is over: the log as a whole, and what was promised."""
        removed = self.world.retention.removed()
        stored = self.raw.execute(f"{SELECT_EVENTS} ORDER BY id").fetchall()
        here, told = (
            [event for event in events if event[2] > removed.get(event[1], 0)] for events in (stored, self._events)
        )
        if here != told:
            raise Violation("I6", "an event was changed after it was written")
        self._check_notices()
        for order_id, row in self._rows.items():
            self._folded[order_id].stale = True
            self._check_row(row)
            if row["state"] == "Completed" and row["units_fulfilled"] != row["units"]:
                raise Violation("I12", f"{row['po_number']} is Completed with {row['units_fulfilled']} of its units")
        by_intent: dict[str, int] = {}
        for placed in self.world.market.orders.values():
            if placed.source == "api":
                by_intent[placed.lines[0]["ExternalId"]] = by_intent.get(placed.lines[0]["ExternalId"], 0) + 1
        if twice := [intent for intent, count in by_intent.items() if count > 1]:
            raise Violation("I1", f"{twice[0]} was ordered more than once")
        waiting = self.raw.execute("SELECT po_number FROM callbacks WHERE outcome = 'waiting'").fetchall()
        names = {row["po_number"]: row for row in self._rows.values()}
        for (po_number,) in waiting:
            if po_number in names and names[po_number]["provider_id"] is not None:
                raise Violation("I4", f"a notice for {po_number} waits although its order is there")


def _hour(stored: str) -> str:
    """The full hour of a time as SQLite keeps it."""
    return stored[:13] + ":00:00.000000"


def _stored(value: Any) -> Any:
    """A time of the log as SQLite keeps it."""
    if not isinstance(value, str):
        return value
    plain = value.removesuffix("+00:00").replace("T", " ")
    return plain if "." in plain else f"{plain}.000000"
