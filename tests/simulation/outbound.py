"""Another system that is notified of events: its receiver fails, answers slowly or never, and goes down (I17).

What an event promises is written with it, comes in the order of each order's log, under one id and with one body
however often it comes, and is called delivered only once the receiver has it. Drawn apart, so that a seed's history
stays what it was where nobody is notified.
"""

import asyncio
import json
import random
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cryptography.fernet import Fernet
from evidence import Violation
from marketplace import START
from mishaps import Step

from tracking.access import Person
from tracking.delivery import resending, retries, subscribing
from tracking.delivery.deliverer import PLACES, Deliverer, Leased
from tracking.delivery.posting import Poster, Reply
from tracking.delivery.signing import SecretCipher, new_secret
from tracking.storage.database import Database

if TYPE_CHECKING:
    from adapters import Console
    from world import World

SHARE = 0.25
HOOK_STEPS = frozenset({"receiver down", "pause hook", "resume hook", "send again"})
KEY = Fernet.generate_key().decode()
NAME, BY = "crm", Person("Ann")
STATES = {"Completed": "order.completed", "Cancelled": "order.cancelled", "Refused": "order.refused"}
RANK = ("order.accepted", "line.changed", *STATES.values(), "order.attention")
HISTORY = 86_400.0
TIDY_SECONDS = 10.0  # in place of a minute: a clock that was set back is noticed by it
INSERT = (
    "INSERT INTO subscriptions"
    " (name, url, event_types, secrets, state, state_at, state_by, created_at, created_by, failures, receives_from)"
    " VALUES (?, 'https://crm.example.com/', '[]', ?, 'active', ?, 'Ann', ?, 'Ann', 0, ?)"
)
SELECT_EVENTS = (
    "SELECT id, order_id, seq, kind, happened_at, learned_at, changes, line_changes, detail FROM events WHERE id > ?"
)
SELECT_ROWS = "SELECT order_id, seq, event_type, message_id, state FROM deliveries WHERE event_type != 'order.late'"
SELECT_DUE = (
    "SELECT min(max(d.next_attempt_at, coalesce(d.lease_until, ''), coalesce(s.retry_at, ''))) FROM deliveries d"
    " JOIN subscriptions s ON s.id = d.subscription_id WHERE d.state = 'waiting' AND s.state = 'active'"
)
Key = tuple[int, int, str]
"""An event of an order as somebody is notified of it: the order's row id, the event's number, the type."""


class Outbound:
    """The other system: what it was promised, and what it got. Raises Violation. Without it nothing is promised."""

    def __init__(self, world: "World", seed: int) -> None:
        self.world = world
        self._rng = rng = random.Random(f"outbound {seed}")
        self.busy = rng.random() < SHARE
        self._fails, self._answer_lost = rng.choice((0.0, 0.1, 0.4)), rng.choice((0.0, 0.1, 0.3))
        self._slow = rng.choice((0.0, 0.0, 5.0))
        self._down_until = 0.0
        self._tidied: dict[int, float] = {}
        self._seen = 0
        self._promised: dict[Key, float] = {}
        self._ids: dict[str, Key] = {}
        self._states: dict[Key, str] = {}
        self._got: dict[Key, list[tuple[str, str]]] = {}
        self._newest: dict[int, tuple[int, int]] = {}

    def steps(self) -> list[Step]:
        """When the receiver is down, and what people do about it."""
        if not self.busy:
            return []
        rng, steps = self._rng, list[Step]()
        for _ in range(rng.choice((0, 1, 2))):
            steps.append(Step(round(rng.uniform(0, 90), 2), "receiver down", {"length": rng.choice((1.0, 20.0, 60.0))}))
        if rng.random() < 0.3:
            at = round(rng.uniform(0, 60), 2)
            steps += [Step(at, "pause hook", {}), Step(round(at + rng.uniform(0, 40), 2), "resume hook", {})]
        if rng.random() < 0.3:
            steps.append(Step(round(rng.uniform(5, 120), 2), "send again", {"number": rng.choice((1, 2, 4))}))
        return steps

    def begin(self) -> None:
        """Subscribes, before anything happens."""
        if self.busy:
            sealed = SecretCipher([KEY]).encrypt(new_secret(), NAME)
            secrets, at = json.dumps([{"sealed": sealed, "until": None}]), START.strftime("%Y-%m-%d %H:%M:%S.%f")
            self.world.file.raw.execute(INSERT, (NAME, secrets, at, at, at))

    def deliverer(self, console: "Console") -> Deliverer:
        """What delivers in this process."""
        rng = random.Random(self.world.chance.seed * 100 + console.number)
        more: dict[str, Any] = {"owner": console.owner, "clock": console.clock, "rng": rng}
        return Deliverer(console.database, _Poster(self, console), SecretCipher([KEY]), **more)

    async def turn(self, deliverer: Deliverer, console: "Console", group: Any) -> None:
        """One turn of the loop of deliveries."""
        if self.world.back_steps and self.world.now >= self._tidied.get(console.number, -TIDY_SECONDS) + TIDY_SECONDS:
            self._tidied[console.number] = self.world.now
            await deliverer.tidy()
        for leased in await deliverer.begin_due(console.clock(), PLACES):
            group.create_task(self._survive(deliverer, leased, console))

    async def _survive(self, deliverer: Deliverer, leased: Leased, console: "Console") -> None:
        try:
            await deliverer.deliver(leased)
        except Exception as exc:  # noqa: BLE001 - as the loop, which goes on; what is no trouble of the store is a finding
            if not console.dead and not type(exc).__name__.startswith("Store"):
                self.world.auditor.stumbled(f"a delivery stumbled over {exc!r}")

    def due(self) -> float | None:
        """When the next delivery is due, in true seconds."""
        [at] = self.world.file.raw.execute(SELECT_DUE).fetchone()
        return self.world.auditor.at_the_latest(self.world.auditor.seconds(at))

    # What happens

    def calm(self) -> None:
        """Nothing goes wrong any more: what nobody has resumed yet is resumed."""
        paused = self.world.file.raw.execute("SELECT count(*) FROM subscriptions WHERE state = 'paused'").fetchone()
        if paused[0]:
            self.do("resume hook", {})
            self.world.after(5, self.calm)

    def do(self, what: str, given: Mapping[str, Any]) -> None:
        """The receiver is down, or somebody does something about it."""
        if what == "receiver down":
            self._down_until = max(self._down_until, self.world.now + given["length"])
            return

        def act(database: Database, now: datetime) -> None:
            match what:
                case "pause hook":
                    subscribing.pause(database, NAME, by=BY, now=now)
                case "resume hook":
                    subscribing.resume(database, NAME, by=BY, now=now)
                case _:
                    resending.send_again(database, [given["number"]], by=BY, now=now)

        if self.world.consoles:
            self.world.consoles[0].at_once(act)

    async def exchange(self, console: "Console", message_id: str, body: str) -> Reply:
        """One POST: what the receiver gets of it, and what it answers."""
        world = self.world
        await asyncio.sleep(0.005 + 0.02 * world.chance.draw("way to a receiver"))
        calm = world.chance.calm
        if not calm and world.now < self._down_until:
            return Reply(error="connection refused: nothing listens there")
        if not calm and world.chance.draw("receiver fails") < self._fails:
            return Reply((world.chance.draw("how it fails") < 0.5 and 503) or 400, "no")
        if world.dies_at(console, "receiver before"):
            await asyncio.sleep(1e9)
        world.checked(lambda: self._receive(message_id, body))
        if world.dies_at(console, "receiver after"):
            await asyncio.sleep(1e9)
        await asyncio.sleep(0.005 + (0.0 if calm else self._slow * world.chance.draw("receiver slow")))
        if not calm and world.chance.draw("its answer is lost") < self._answer_lost:
            return Reply(error="no answer within 20 seconds")
        return Reply(200, "ok")

    def _receive(self, message_id: str, body: str) -> None:
        """The receiver gets a message: it must be one that was promised, and come when those before it have come."""
        self._look()
        document = json.loads(body)
        if document["type"] == "order.late":
            if of := self.world.latecomers.receive(message_id, body, document):
                self._comes_in_order(of[0], (of[1], len(RANK)), document)
            return
        event, order = document["data"]["event"], document["data"]["order"]
        key = self._ids.get(message_id)
        if key is None or key not in self._promised:
            raise Violation("I17", f"{document['type']} of {order['po_number']} is sent, and no event promised it")
        order_id, seq, event_type = key
        if (event["seq"], document["type"]) != (seq, event_type):
            raise Violation("I17", f"{message_id} of {order['po_number']} tells of another event")
        if event_type == "order.accepted" and event["text"] and order["completed_by"]:  # else its log has left
            raise Violation("I17", f"{event_type} of {order['po_number']} tells what came later")
        got = self._got.setdefault(key, [])
        if got and (message_id, body) != got[0]:
            raise Violation("I17", f"{event_type} of {order['po_number']} comes again as something else")
        if not got:
            self._comes_in_order(order_id, (seq, RANK.index(event_type)), document)
        got.append((message_id, body))

    def _comes_in_order(self, order_id: int, place: tuple[int, int], document: Mapping[str, Any]) -> None:
        if place < self._newest.get(order_id, (0, 0)):
            told = f"{document['type']} of {document['data']['order']['po_number']}"
            raise Violation("I17", f"{told} comes after a later event")
        self._newest[order_id] = place

    # What must hold

    def committed(self) -> None:
        """A transaction is over: each event has its rows, and what is called delivered was received."""
        if self.busy:
            self._look()

    def _look(self) -> None:
        raw = self.world.file.raw
        events = raw.execute(SELECT_EVENTS, (self._seen,)).fetchall()
        rows = {row[:3]: row[3:] for row in raw.execute(SELECT_ROWS)}
        for event in events:
            self._seen = event[0]
            for event_type in _types(event):
                self._promised[event[1], event[2], event_type] = self.world.now
        if missing := self._promised.keys() - rows.keys():
            raise Violation("I17", f"event {min(missing)} has no row of those who are notified")
        if strange := rows.keys() - self._promised.keys():
            raise Violation("I17", f"{min(strange)} is to be sent, and there is no such event")
        for key, (message_id, state) in rows.items():
            if self._ids.setdefault(message_id, key) != key:
                raise Violation("I17", f"{key} and {self._ids[message_id]} have one id")
            if state == "delivered" and not self._got.get(key):
                raise Violation("I17", f"{key} is called delivered, and was not received")
        self._states = {key: state for key, (_, state) in rows.items()}

    def waiting(self) -> Iterable[tuple[str, float]]:
        """What was promised and not delivered."""
        for key, state in self._states.items():
            if state == "waiting":
                yield f"{key[2]} of order {key[0]} waits and is not delivered", self._promised[key]

    def ended(self) -> None:
        """The history is over: all that was promised was received."""
        if lost := self._promised.keys() - self._got.keys():
            raise Violation("I17", f"{min(lost)} was promised and never came")


class _Poster(Poster):
    """Posts to the simulated receiver."""

    def __init__(self, outbound: Outbound, console: "Console") -> None:
        super().__init__()
        self._outbound, self._console = outbound, console

    async def post(self, target: Any, payload: str, headers: Mapping[str, str]) -> Reply:
        return await self._outbound.exchange(self._console, headers["webhook-id"], payload)


def _types(event: Any) -> list[str]:
    """Which types an entry of the log is, told anew from what it says."""
    _, _, _, kind, happened_at, learned_at, changes, line_changes, detail = event
    changes, line_changes, detail = json.loads(changes), json.loads(line_changes), json.loads(detail)
    learned = datetime.fromisoformat(learned_at).replace(tzinfo=UTC)
    if kind == "discovered":
        began = datetime.fromisoformat(happened_at).replace(tzinfo=UTC)
    else:
        began = datetime.fromisoformat(changes["completed_after"]) if detail.get("first_sight") else learned
    if (learned - began).total_seconds() > HISTORY:
        return []
    types = ["order.accepted"] if changes.get("provider_id") else []
    types += ["line.changed"] if any("status" in change for change in line_changes) else []
    types += [STATES[changes["state"]]] if changes.get("state") in STATES else []
    return types + (["order.attention"] if changes.get("attention") or kind == "reopened" else [])


SHORT_WAITS = retries.WAITS[:4]
