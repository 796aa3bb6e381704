import json
import random
from datetime import UTC, datetime

from processes.children import TRACKING, Child, Nursery, free_port, provider_settings, truth, until, write_orders
from processes.over_http import FINAL, disagreements, events, made_up, rows, store_of, submit, twice
from sqlalchemy import select

from tracking.access import Person
from tracking.reports.order_list.filters import Filters
from tracking.reports.team import jobs as job_reports
from tracking.storage.maintenance.verify import verify
from tracking.storage.tables import EVENTS
from tracking.submissions.files import read_json
from tracking.team import jobs
from tracking.team.imports.handing_in import hand_in
from tracking.team.plans import Act, Parameters

SEED = 1
ORDERS = 60
KILLS = 3
SETTLES_WITHIN = 90


def console(children: Nursery, sandbox: Child, port: int, *, pages: bool) -> Child:
    settings = provider_settings(sandbox.url) | {"PUBLIC_URL": f"http://127.0.0.1:{port}"}
    return children.uvicorn(settings, port=port) if pages else children.worker(settings, port=port)


def at_provider(sandbox: Child, count: int) -> None:
    until(f"{count} orders at the provider", lambda: len(truth(sandbox)) >= count, within=90, every=0.1)


def test_no_order_is_lost_or_placed_twice_whenever_the_console_is_killed(children: Nursery, sandbox: Child) -> None:
    chance = random.Random(SEED)
    made, size, port = made_up(ORDERS), ORDERS // KILLS, free_port()
    moments = sorted(chance.sample(range(1, ORDERS * 9 // 10), KILLS))
    with store_of(children.database_url) as store:
        for number, moment in enumerate(moments):
            running = console(children, sandbox, port, pages=number % 2 == 1)
            submit(store, made[number * size : (number + 1) * size])
            at_provider(sandbox, min(moment, (number + 1) * size - 1))
            running.kill()
        # Killed while it starts, takes over what the dead one held, or already looks at orders.
        starting = console(children, sandbox, port, pages=False)
        starting.lives_for(chance.uniform(0.5, 3))
        starting.kill()
        console(children, sandbox, port, pages=False).ready()

        def settled() -> bool:
            there = truth(sandbox)
            done = len(there) == ORDERS and {order["status"] for order in there} <= FINAL
            return done and not disagreements(rows(store), there, datetime.now(UTC))

        until("all orders to be done", settled, within=SETTLES_WITHIN, every=0.5)
        assert len(rows(store)) == ORDERS
        assert events(store) >= 3 * ORDERS
        assert verify(store) == []
    assert twice(truth(sandbox)) == []


def idle(children: Nursery) -> Child:
    """A worker that places imports and does jobs but finds no provider, so that it does nothing else."""
    nowhere = provider_settings(f"http://127.0.0.1:{free_port()}")
    return children.worker(nowhere | {"ROLES": "poller"})


def test_a_file_whose_submission_was_killed_can_be_handed_in_again(children: Nursery) -> None:
    count = 200
    line = {"ProductId": "CVS", "Value": 10, "Quantity": 1}
    made = [{"Type": "Links", "PONumber": f"K-{number:03d}", "LineItems": [line]} for number in range(count)]
    file = write_orders(children.folder / "orders.json", made)
    with store_of(children.database_url) as store:
        first = children.start([*TRACKING, "submit", str(file), "--json"])
        until("the first orders", lambda: rows(store), within=30, every=0.005)
        first.kill()
        kept = set(rows(store))
        assert 0 < len(kept) < count, "the kill came too late to show anything"
        again = children.tracking("submit", str(file), "--json")
        assert again.ends() == 0, again.said
        told = json.loads(again.said[again.said.index("[") :])
        assert {each["po_number"] for each in told if each["outcome"] == "exists"} == kept
        assert {each["outcome"] for each in told} == {"exists", "queued"}
        more = [each | {"PONumber": f"M-{number:03d}"} for number, each in enumerate(made)]
        checked = read_json(json.dumps(more).encode(), "more.json", catalog=None)
        hand_in(store, checked, source="json", by=Person("Ann"), now=datetime.now(UTC))
        running = idle(children)
        until("a part of the next file", lambda: len(rows(store)) > count * 5 // 4, within=30, every=0.005)
        running.kill()
        assert len(rows(store)) < 2 * count, "the kill came too late to show anything"
        idle(children)
        until("the rest of it", lambda: len(rows(store)) == 2 * count, within=30)
        assert verify(store) == []


def test_a_job_whose_console_is_killed_in_its_middle_touches_each_order_once(children: Nursery) -> None:
    count, act, now = 500, Act.ASSIGN, datetime.now(UTC)
    with store_of(children.database_url) as store:
        submit(store, made_up(count))
        job_id = jobs.start(
            store,
            Filters(),
            act,
            Parameters(assignee="Cleo"),
            secret="a secret of the tests",
            key="k",
            by=Person("Ann"),
            now=now,
        )
        running = idle(children)
        until("the middle", lambda: job_reports.job(store, job_id, now).done > count // 5, within=30, every=0.02)
        running.kill()
        middle = job_reports.job(store, job_id, now)
        assert middle.state == "running"
        assert 0 < middle.waiting < count, "the kill came too late to show anything"
        idle(children)
        until("its end", lambda: job_reports.job(store, job_id, now).state == "finished", within=60)
        assert job_reports.job(store, job_id, now).done == count
        with store.read() as connection:
            log = select(EVENTS.c.order_id, EVENTS.c.detail).where(EVENTS.c.kind == "assigned")
            assigned = connection.execute(log).all()
        assert len({each.order_id for each in assigned}) == len(assigned) == count
        assert {(each.detail["actor"], each.detail["job"]) for each in assigned} == {("Ann", job_id)}
        assert verify(store) == []
