"""Text that tries to become something else, and a store that holds it in every field that comes from outside."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from fakes import order_json
from histories import PLANNER, History
from sqlalchemy import Connection, insert, update

from tracking import ingest
from tracking.access import Person
from tracking.orders.model import Witness
from tracking.orders.observations import Missing, Polled, Unclear
from tracking.provider import call_log
from tracking.provider.responses import (
    read_carrier,
    read_each,
    read_order,
    read_problems,
    read_product,
    read_shipping_method,
)
from tracking.provider.webhook_bodies import read_webhook_call
from tracking.reports.order_list.filters import Filters
from tracking.storage import facts, inbox, orders
from tracking.storage.database import Database
from tracking.storage.tables import BATCHES, ORDERS
from tracking.storage.team.tables import IMPORT_ROWS, JOB_ORDERS, JOBS, import_key
from tracking.submissions import actions
from tracking.team import jobs, saved_views, work
from tracking.team.plans import Act, Parameters

# A word, and what must still stand before it, letter for letter, wherever it is shown: else somebody interpreted it.
LITERALS = {
    "Zred": ":red[",
    "Zbadge": ":blue-badge[",
    "Zlink": "[",
    "Zbold": "**",
    "Zcode": "`",
    "Zmath": "$",
    "Zstrike": "~~",
    "Zhtml": "<b>",
    "Zscript": "<script>",
    "Zentity": "&lt;b&gt;",
    "Zquote": "> ",
    "Zhead": "# ",
}
ICON = "skull"
EMOJI = "\N{SKULL}"
ARROW = "\N{RIGHTWARDS ARROW}"
TURNING = "\u202e"
FORMULA = "=HYPERLINK"
# An order whose page fails, and the text on which it does.
BROKEN, SECRET = "FT-BROKEN", "Zsecret"
LONG_WORD = "W" * 150


@dataclass
class Canary:
    """Counts who asks for anything: nobody should."""

    port: int = 0
    asked: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def canary() -> Iterator[Canary]:
    """A server that nothing should ever call."""
    kept = Canary()

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kept.asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    kept.port = server.server_port
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield kept
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass(frozen=True)
class Payloads:
    """The same tricks for fields of any length."""

    canary: str

    @property
    def short(self) -> tuple[str, ...]:
        """None longer than 60 characters: a status word's room."""
        bare = self.canary.removeprefix("http:")
        return (
            f"<img src={bare}/1 onerror=hacked=1>",
            f"![Zlink]({self.canary}/2)",
            "[Zlink](javascript:hacked=1)",
            "<script>Zscript;hacked=1</script>",
            f":red[Zred] :material/{ICON}::{ICON}: -> :streamlit: $Zmath$",
            "**Zbold** `Zcode` ~~Zstrike~~ <b>Zhtml</b>",
            f"{TURNING}<svg onload=hacked=1>&lt;b&gt;Zentity",
            f'{FORMULA}("{self.canary}/3")',
        )

    @property
    def tiny(self) -> tuple[str, ...]:
        """None longer than 10 characters: a currency's room."""
        return ("![x](//h)", "<b>Zhtml", "$Zmath$", f":{ICON}:", "[x](//h)", "**Zbold**", "`Zcode`", "<s>")

    @property
    def line(self) -> str:
        """Up to 200 characters: an id's room."""
        return " ".join(self.short[:5])[:200]

    @property
    def prose(self) -> str:
        """Up to 1,000 characters, several lines: a note's room."""
        rows = [
            *self.short,
            f"# Zhead {LONG_WORD}",
            "> Zquote",
            ":blue-badge[Zbadge]",
            "www.evil.example x@evil.example",
        ]
        return "\n\n".join(rows)[:1000]


def plant(database: Database, payloads: Payloads, now: datetime) -> list[str]:
    """Puts the payloads into every field; the PONumbers of the orders to look at."""
    history = History(database, now - timedelta(hours=2))
    po_numbers = [_from_the_provider(history, payloads, number) for number in range(len(payloads.short))]
    po_numbers += _from_here(history, payloads)
    _callbacks(database, payloads, po_numbers, now)
    _exchanges(database, payloads, po_numbers[0], now)
    _facts(database, payloads, now)
    _batch(database, payloads, now)
    _team(database, payloads, po_numbers, now)
    history.place(BROKEN)
    spoil = ORDERS.update().where(ORDERS.c.po_number == BROKEN).values(notice=SECRET)
    database.write(lambda connection: connection.execute(spoil) and None)
    return po_numbers


def _from_the_provider(history: History, payloads: Payloads, number: int) -> str:
    """An order of the list: ids, status words, products, currency, note, recipients, line ids."""
    short = payloads.short[number]
    lines = [
        {
            "ProductId": text,
            "Value": 10,
            "Quantity": 1,
            "ExternalId": payloads.line,
            "DigitalDeliveryAddress": {"Email": payloads.line},
        }
        for text in payloads.short
    ]
    name = f"{number}{payloads.line}"[:200]
    raw = order_json(name, f"{number} {short}", short, *lines, kind=short, created_at=history.at)
    raw |= {"CurrencyCode": payloads.tiny[number], "Note": payloads.prose, short: {short: payloads.prose}}
    for line, text in zip(raw["LineItems"], payloads.short, strict=True):
        line |= {"Id": text, "Status": text}
    shown = read_order(raw)
    order, _ = history.database.write(
        lambda connection: ingest.discover(connection, shown, history.at, history.at, PLANNER)
    )
    history.wait(seconds=5)
    return order.po_number


def _from_here(history: History, payloads: Payloads) -> list[str]:
    """Orders of ours: refused, unknown, contradicted, written on."""
    refused, unknown = payloads.line[:99], f"U{payloads.line}"[:99]
    for po_number in (refused, unknown):
        history.place(po_number, external_id=payloads.short[0], recipient=payloads.short[1])
    body = {"Errors": [{"Property": text, "Errors": [text]} for text in payloads.short]}
    problems = read_problems(json.loads(json.dumps(body)))
    history.refuse(refused, "; ".join(str(problem) for problem in problems))
    history.lose(unknown)
    history.see(unknown, Unclear(payloads.prose), Witness.US)
    seen = f"S{payloads.line}"[:99]
    history.place(seen)
    history.accept(seen)
    for word in payloads.short:
        history.wait(seconds=7)
        history.look(seen, word)
    history.see(seen, Polled(None), Witness.POLL)
    history.see(seen, Missing(), Witness.POLL)
    at, one, other = history.wait(seconds=1), Person(payloads.short[0]), Person(payloads.short[1])
    database = history.database
    for text in payloads.short:
        actions.add_note(database, seen, by=one, now=at, text=text)
    actions.add_note(database, seen, by=other, now=at, text=payloads.prose[:500])
    actions.acknowledge(database, refused, by=one, now=at, why=payloads.prose[:500])
    return [refused, unknown, seen]


def _callbacks(database: Database, payloads: Payloads, po_numbers: list[str], now: datetime) -> None:
    for number, text in enumerate(payloads.short):
        said = {"Action": "FulfillmentComplete", "OrderId": text, "PONumber": [*po_numbers, text][-1 - number % 2]}
        callback = read_webhook_call(json.dumps(said | {"Timestamp": text}).encode())
        database.write(
            lambda connection, callback=callback: ingest.receive_webhook(connection, callback, 120, now, PLANNER)  # type: ignore[misc]  # the default binds the loop's value
        )
        refusal = {
            "reason": f"method {text}",
            "method": text[:10],
            "size": 7,
            "rule": text,
            "source": text,
            "po_number": text,
        }
        database.write(
            lambda connection, refusal=refusal: inbox.record_refusal(connection, refusal, now)  # type: ignore[misc]  # as above
        )


def _exchanges(database: Database, payloads: Payloads, po_number: str, now: datetime) -> None:
    def record(connection: Connection) -> None:
        order_id = orders.order_ids(connection, po_numbers=[po_number])[po_number]
        rows = [
            {
                "at": now - timedelta(seconds=number),
                "method": text[:10],
                "path": f"/v1/Orders/{text}",
                "status": 400,
                "milliseconds": 5,
                "outcome": text,
                "order_id": order_id,
                "request": payloads.prose,
                "answer": payloads.prose,
            }
            for number, text in enumerate(payloads.short)
        ]
        call_log.store_api_calls(connection, rows)

    database.write(record)


def _facts(database: Database, payloads: Payloads, now: datetime) -> None:
    """The catalogue, and what the client says of the provider."""
    raw = [
        {
            "Id": text,
            "Name": text,
            "Type": "Digital",
            "Denominations": [10],
            "AvailableDeliveryTypes": ["Links", "PhysicalShipment"],
            "CurrencyCode": payloads.tiny[number],
        }
        for number, text in enumerate(payloads.short)
    ]
    methods = [{"Id": text, "Description": text, "Cost": 1} for text in payloads.short]
    carriers = [{"Id": text, "Name": text} for text in payloads.short]
    catalogue = {
        "products": read_each(raw, read_product),
        "shipping_methods": read_each(methods, read_shipping_method),
        "carriers": read_each(carriers, read_carrier),
    }
    client = {"failing_since": now.isoformat(), "last_error": f"CredentialsRefused: {payloads.prose}"}

    def remember(connection: Connection) -> None:
        facts.set_fact(connection, "catalogue", catalogue, now)
        facts.set_fact(connection, "client", client, now)

    database.write(remember)


def _batch(database: Database, payloads: Payloads, now: datetime) -> None:
    """A file that was stopped; its rows are hostile, and were rejected for hostile reasons."""
    values: dict[str, Any] = {"digest": "d", "name": payloads.line, "rows": 1, "orders": 1, "created_at": now}
    job: dict[str, Any] = {
        "act": "import",
        "parameters": {"batch_id": 1, "source": "csv"},
        "filter": {},
        "state": "stopped",
    }
    job |= {"person": payloads.short[0], "signed_in": False, "created_at": now, "total": 1, "done": 0, "skipped": 0}
    job |= {"skipped_why": {}, "changed_at": now, "changed_by": payloads.line}
    rows = [
        {"batch_id": 1, "number": number, "po_number": text, "po_folded": text, "outcome": "rejected"}
        | {"message": f"{text} {payloads.line}", "lines": []}
        for number, text in enumerate(payloads.short, 1)
    ]

    def add(connection: Connection) -> None:
        connection.execute(insert(BATCHES).values(values | {"id": 1, "actor": payloads.short[0]}))
        connection.execute(insert(JOBS).values(job | {"key": import_key(1)}))
        connection.execute(insert(IMPORT_ROWS), rows)

    database.write(add)


def _team(database: Database, payloads: Payloads, po_numbers: list[str], now: datetime) -> None:
    """Orders of somebody with a hostile name, a view under such a name, and a job for such a reason, done."""
    person = Person(payloads.short[0])
    for po_number, name in zip(po_numbers, payloads.short, strict=False):
        work.assign(database, po_number, name, by=person, now=now)
        saved_views.save(database, name, Filters(text=payloads.line), shared=True, by=person, now=now)
    parameters = Parameters(reason=payloads.prose[:500])
    job = jobs.start(
        database,
        Filters(),
        Act.ACKNOWLEDGE,
        parameters,
        secret="a secret of the tests",
        key=payloads.line,
        by=person,
        now=now,
    )
    skipped = update(JOB_ORDERS).where(JOB_ORDERS.c.job_id == job).values(outcome="skipped", why=payloads.line, at=now)
    done = {"skipped": 1, "skipped_why": dict.fromkeys(payloads.short, 1), "state": "stopped", "changed_at": now}
    over = update(JOBS).where(JOBS.c.id == job).values(done | {"changed_by": payloads.line})

    def change(connection: Connection) -> None:
        connection.execute(skipped)
        connection.execute(over)

    database.write(change)


def csv_file(payloads: Payloads) -> bytes:
    """A file whose cells are hostile, in columns that exist and in one that does not."""
    quoted = ['"' + text.replace('"', '""') + '"' for text in payloads.short]
    rows = [f"{text},{text},{text},{text},{text},{text}" for text in quoted]
    return "\n".join(["PONumber,Type,ProductId,Value,Quantity,Email", *rows]).encode()


def csv_header(payloads: Payloads) -> bytes:
    """A file whose header names hostile columns."""
    quoted = ['"' + text.replace('"', '""') + '"' for text in payloads.short]
    return ",".join(quoted).encode() + b"\n1\n"


def now() -> datetime:
    """The time, aware and in UTC."""
    return datetime.now(UTC)
