"""Alerts, and the services that they are sent by, which are away, slow, or take a message whose answer is lost (I18).

A trouble is told of once to each service, after it has lasted and while it may still be there, and its end is told of
once, after it was gone for a while. What a service shows is read as people read it, and held against what the store
said of the orders at that time. Drawn apart, so that a seed's history stays what it was where nobody is alerted.
"""

import json
import random
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from evidence import Violation
from marketplace import EPSILON
from mishaps import Step

from tracking.alerting import rules
from tracking.alerting.messages import Message
from tracking.alerting.notifier import SEND_SECONDS, Notifier
from tracking.forecasting import incidents
from tracking.settings.alerts import AlertRule

if TYPE_CHECKING:
    from adapters import Console
    from world import World

SHARE = 0.12
ALARM_STEPS = frozenset({"service away", "alerts copied", "alerts restored"})
TURN_SECONDS, IDLE_SECONDS = 5.0, 30.0
SHORTER = 6  # in place of minutes; what must hold is the same
SHORT_RULES = {
    name: replace(rule, lasts=rule.lasts / SHORTER, clear=rule.clear / SHORTER) for name, rule in rules.RULES.items()
}
SHORT_GROUPED = rules.GROUPED_EVERY / 15
WATCHED = {
    AlertRule.LATE: "late", AlertRule.DECISION: "waiting for a decision", AlertRule.UNCONFIRMED: "unconfirmed"
}  # fmt: skip
OFF = frozenset(AlertRule) - WATCHED.keys()
IS_LATE, OPEN = "late_at IS NOT NULL AND late_at < ?", "state NOT IN ('Completed', 'Cancelled', 'Refused')"
SELECT_TROUBLES = (
    f"SELECT po_number, {OPEN} AND {IS_LATE}, attention IS NOT NULL AND acknowledged_at IS NULL,"
    " state = 'Outcome unknown', snoozed_at IS NULL FROM orders"
)
SELECT_ALERTS = "SELECT id, rule, subject, ended_at, sent_to, end_sent_to FROM alerts ORDER BY id"
SELECT_UNSETTLED = (
    "SELECT 1 FROM alerts WHERE next_attempt_at IS NOT NULL OR (ended_at IS NULL AND clear_since IS NOT NULL) LIMIT 1"
)
LINE = re.compile(
    r"^(?:- )?(?:Recovered: |Over: )?(?P<order>\S+) (?P<words>is late|needs a decision|is unconfirmed"
    r"|is no longer (?:late|waiting for a decision|unconfirmed))"
)
Key = tuple[str, str]
"""What a trouble is: its rule, and the PONumber of the order that it is of."""


class Alarms:
    """What troubles there were and when, and what each service was told. Raises Violation."""

    def __init__(self, world: "World", seed: int) -> None:
        self.world = world
        self._rng = rng = random.Random(f"alarms {seed}")
        self.busy = rng.random() < SHARE
        self.services = ("mail", "chat")[: rng.choice((1, 1, 2))]
        self._fails, self._answer_lost = rng.choice((0.0, 0.2, 0.5)), rng.choice((0.0, 0.2))
        self._slow = rng.choice((0.0, 3.0, SEND_SECONDS * 1.5))
        self._away_until: dict[str, float] = {}
        self._spans: dict[Key, list[list[float]]] = {}
        self._asleep: set[str] = set()
        self._taken: dict[tuple[str, Key], tuple[bool, Console]] = {}
        self._excused: set[tuple[str, Key, bool]] = set()
        self._copy: tuple[list[Any], ...] | None = None
        self._taken_by_copy: dict[tuple[str, Key], tuple[bool, Console]] = {}
        self._turned, self._seen, self._were_late = 0.0, -1, False

    def steps(self) -> list[Step]:
        """When a service is away, and when the alerts are those of a copy made before."""
        if not self.busy:
            return []
        rng, steps = self._rng, list[Step]()
        for _ in range(rng.choice((0, 1, 2))):
            given = {"service": rng.choice(self.services), "length": rng.choice((5.0, 40.0, 90.0))}
            steps.append(Step(round(rng.uniform(0, 90), 2), "service away", given))
        if rng.random() < 0.25:
            at = round(rng.uniform(0, 60), 2)
            steps.append(Step(at, "alerts copied", {}))
            steps.append(Step(round(at + rng.uniform(1, 80), 2), "alerts restored", {}))
        return steps

    def do(self, what: str, given: Mapping[str, Any]) -> None:
        """A service goes away, or the store is as it was."""
        raw, alone = self.world.file.raw, not self.world.file.locker.in_transaction
        if what == "service away":
            self._away_until[given["service"]] = self.world.now + given["length"]
        elif what == "alerts copied":
            facts = raw.execute("SELECT * FROM facts WHERE key = 'alerts'").fetchall()
            self._copy = (raw.execute("SELECT * FROM alerts").fetchall(), facts)
            self._taken_by_copy = dict(self._taken)
        elif self._copy is not None and alone:
            for console in self.world.consoles:
                self.world._kill(console)
            for table, rows in zip(("alerts", "facts"), self._copy, strict=True):
                raw.execute(f"DELETE FROM {table}" + (" WHERE key = 'alerts'" if table == "facts" else ""))
                for row in rows:
                    raw.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)
            # What was told after the copy may be told once more: nobody can know.
            self._excused = {(service, key, over) for service, key in self._taken for over in (False, True)}
            self._taken = dict(self._taken_by_copy)  # the copy knows of these, and tells of none of them again

    def notifier(self, console: "Console") -> Notifier:
        """What alerts in this process, as if on a machine of its own: no other can see whether it still lives."""
        services: Any = [_Service(name, self, console) for name in self.services]
        owner = f"host-{console.number}/1/sim"
        return Notifier(console.database, services, clock=console.clock, owner=owner, off=OFF)

    async def turn(self, notifier: Notifier, console: "Console") -> None:
        """Finds which orders are late, as the learner does, and takes a turn of the notifier."""
        self._turned = self.world.now
        late = any(key[0] == AlertRule.LATE and spans[-1][1] == FOREVER for key, spans in self._spans.items())
        if late or self._were_late:
            await console.database.run(partial(_note_late, now=console.clock()))
        self._were_late = late
        await notifier.turn()
        self._seen = self.world.commits

    def due(self) -> float:
        """When a turn may find something to do."""
        self._look()
        unsettled = self.world.file.raw.execute(SELECT_UNSETTLED).fetchone()
        soon = unsettled or self._seen != self.world.commits
        return self._turned + (TURN_SECONDS if soon else IDLE_SECONDS)

    # What must hold

    def committed(self) -> None:
        """A transaction is over: troubles begin and end with what it says of the orders."""
        if not self.busy:
            return
        self._look()
        lasting: set[Key] = set()
        for _, rule, subject, ended_at, _, _ in self.world.file.raw.execute(SELECT_ALERTS):
            if ended_at is None and (rule, subject) in lasting:
                raise Violation("I18", f"two alerts of {subject} last: {rule}")
            lasting |= {(rule, subject)} if ended_at is None else set()

    def _look(self) -> None:
        now, clock = self.world.now, self.world.consoles[0].clock() if self.world.consoles else None
        at = "" if clock is None else clock.strftime("%Y-%m-%d %H:%M:%S.%f")
        for po_number, *there, awake in self.world.file.raw.execute(SELECT_TROUBLES, (at,)):
            for rule, is_there in zip(WATCHED, there, strict=True):
                spans = self._spans.setdefault((rule, po_number), [[-FOREVER, -FOREVER]])
                if is_there and spans[-1][1] < FOREVER:
                    spans.append([now, FOREVER])
                elif not is_there and spans[-1][1] == FOREVER:
                    spans[-1][1] = now
            self._asleep |= set() if awake else {po_number}

    def takes(self, service: str, console: "Console", message: Message, delay: float) -> bool:
        """Whether the service takes a message and says so, after a delay; what it shows must be so, and news."""
        world = self.world
        if not world.chance.calm:
            if world.now < self._away_until.get(service, 0.0):
                return False
            if world.chance.draw(f"{service} fails") < self._fails:
                return False
        answered = world.chance.calm or world.chance.draw(f"answer of {service}") >= self._answer_lost
        found = [match for line in (message.title, *message.body.splitlines()) if (match := LINE.match(line))]
        if not found:
            raise Violation("I18", f"{service} cannot be read: {message.title}")
        self._look()
        for match in found:
            over = match["words"].startswith("is no longer")
            rule = next(name for name, words in _WORDS[over].items() if words == match["words"])
            self._check(service, console, (rule, match["order"]), over=over)
            self._taken[service, (rule, match["order"])] = over, console
            if not answered or delay > SEND_SECONDS - 1:
                self._excused.add((service, (rule, match["order"]), over))
        return answered

    def _check(self, service: str, console: "Console", key: Key, *, over: bool) -> None:
        told = f"{service} is told that {key[1]} {_WORDS[over][key[0]]}"
        before, by = self._taken.get((service, key), (True, console))
        excused = (service, key, over) in self._excused
        self._excused.discard((service, key, over))
        if before == over and (service, key) in self._taken and not excused and not by.dead:
            raise Violation("I18", f"{told}, which it was told before")
        spans, world, rule = self._spans.get(key, []), self.world, SHORT_RULES[key[0]]
        recent = world.now - 3 * SEND_SECONDS  # when it was claimed, perhaps behind others
        if over:  # however long ago: a service that was away is told as well
            gaps = zip(spans[1:], [*spans[2:], [world.now, FOREVER]], strict=False)
            long_enough = rule.clear.total_seconds() - EPSILON
            fine = any(begin - end >= long_enough for (_, end), (begin, _) in gaps) or (world.skewed and len(spans) > 1)
        else:
            least = 0.0 if world.skewed else rule.lasts.total_seconds() - TURN_SECONDS
            fine = any(end >= recent and min(end, world.now) - begin >= least for begin, end in spans)
        if not fine:
            raise Violation("I18", f"{told}: {[[round(at, 1) for at in span] for span in spans[1:]]}")

    def waiting(self) -> Iterable[tuple[str, float]]:
        """What is to be told and was not told yet."""
        if not self.busy:
            return
        self._look()
        together = self._together()
        for key, spans in self._spans.items():
            for service in self.services:
                begin, end = spans[-1]
                told = self._taken.get((service, key))
                lasts = SHORT_RULES[key[0]].lasts.total_seconds()
                hidden = key[1] in self._asleep or (together and key[0] == AlertRule.LATE)
                if end == FOREVER and not hidden and begin + lasts <= self.world.now and (told is None or told[0]):
                    yield f"{service} is not told that {key[1]} {_WORDS[False][key[0]]}", begin
                if end < FOREVER and told is not None and not told[0]:
                    yield f"{service} is not told that {key[1]} {_WORDS[True][key[0]]}", end

    def _together(self) -> bool:
        found = self.world.file.raw.execute("SELECT value FROM facts WHERE key = 'late_orders'").fetchone()
        return bool(found and json.loads(found[0])["incidents"])


FOREVER = 1e12
_WORDS: Mapping[bool, Mapping[str, str]] = {
    False: {
        AlertRule.LATE: "is late", AlertRule.DECISION: "needs a decision", AlertRule.UNCONFIRMED: "is unconfirmed"
    },
    True: {rule: f"is no longer {words}" for rule, words in WATCHED.items()},
}  # fmt: skip


def _note_late(connection: Any, now: Any) -> None:
    late = incidents.find_late_orders(connection, now)
    if late != incidents.stored_late_orders(connection):
        incidents.store_late_orders(connection, late, now)


class _Service:
    """One service, to which messages are on their way for a while."""

    def __init__(self, name: str, alarms: Alarms, console: "Console") -> None:
        self.name, self._alarms, self._console = name, alarms, console

    def start(self, message: Message) -> "Future[bool]":
        """Send it."""
        world, console, future = self._alarms.world, self._console, Future[bool]()
        slow = 0.0 if world.chance.calm else self._alarms._slow

        def arrives() -> None:
            if world.dies_at(console, "service before"):
                return
            taken, delay = False, 0.05 + slow * world.chance.draw("service slow")

            def take() -> None:
                nonlocal taken
                taken = self._alarms.takes(self.name, console, message, delay)

            world.checked(take)
            if not world.dies_at(console, "service after"):
                world.after(delay, lambda: future.set_result(taken))

        world.after(0.05, arrives)
        return future
