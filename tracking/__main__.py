"""The command line. Tables for people, `--json` for machines; exit 0, 1 (asked for something not so), 2 (bad call).

Holds no rule: it reads arguments, asks `submissions`, `reports`, `audit` and `seeding`, and prints through `terminal`;
the two commands that run until stopped are in `serving`.
"""

import contextlib
import getpass
import logging
import os
import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tracking import settings
from tracking.access import Person
from tracking.app import demo_data as seeding
from tracking.app import servers as serving
from tracking.app.cli import output as terminal
from tracking.errors import InvalidSubmission, NotPermitted, SettingsError, TrackingError, UnknownOrder
from tracking.orders.model import State, canonical, is_open
from tracking.provider.json_fields import storable
from tracking.reports import explanations as prospects
from tracking.reports import overview as reports
from tracking.reports.overview import Filters, amount
from tracking.storage import database, engines
from tracking.storage.database import Database
from tracking.storage.maintenance import backup, restore_mark
from tracking.storage.maintenance import verify as audit
from tracking.storage.maintenance.verify import Head
from tracking.storage.migrations import HEAD
from tracking.submissions import erasure
from tracking.submissions import submit as submissions
from tracking.submissions.submit import Checked, Receipt, Standing

log = logging.getLogger(__name__)

SENDER_SILENT_AFTER = timedelta(seconds=15)
EXPORT_FORMS = ("csv", "parquet", "jsonl")
LINES_SHOWN = 20


class _Commands(TyperGroup):
    """Turns what is expected to go wrong into a sentence and an exit code; anything else is a fault of ours."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the command."""
        try:
            return super().invoke(ctx)
        except SettingsError as exc:
            terminal.say(*(str(problem) for problem in exc.problems))
            raise typer.Exit(2) from exc
        except InvalidSubmission as exc:
            terminal.say(*(str(problem) for problem in exc.problems))
            raise typer.Exit(1) from exc
        except TrackingError as exc:
            terminal.say(str(exc))
            raise typer.Exit(1) from exc


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """The entry point of `tracking` and of `python -m tracking`."""
    app(prog_name="tracking")


def _length(text: str) -> timedelta:
    try:
        return reports.parse_length(text)
    except ValueError as exc:
        raise typer.BadParameter(str(exc)) from exc


def _moment(text: str) -> datetime:
    """An ISO time, UTC where no zone is named, or a length before now such as 2h."""
    with contextlib.suppress(ValueError, OverflowError):
        moment = datetime.fromisoformat(text.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    try:
        return _now() - reports.parse_length(text)
    except (ValueError, OverflowError) as exc:
        raise typer.BadParameter(f"{text[:40]!r} is no time: write 2026-01-31T09:00, or 2h for two hours ago") from exc


def _form(path: Path, known: Sequence[str]) -> str:
    form = path.suffix.lower().removeprefix(".")
    if form not in known:
        raise typer.BadParameter(f"{path.name}: the name must end in {' or '.join(f'.{each}' for each in known)}")
    return form


def _now() -> datetime:
    return datetime.now(UTC)


def _person(name: str | None = None) -> Person:
    """Whoever runs this command, or whom they name: an operator, for who reads the settings can write the store too.

    Raises:
        NotPermitted: the system knows neither a name nor a number.
    """
    if name and name.strip():
        return Person(name.strip())
    try:
        return Person(f"cli:{getpass.getuser()}")
    except (OSError, KeyError, ImportError):  # an account without an entry, as containers have them
        if hasattr(os, "getuid"):
            return Person(f"cli:uid {os.getuid()}")
    raise NotPermitted("the system does not say who runs this; give a name with --actor")


def _head(text: str) -> Head:
    try:
        return Head.read(text)
    except ValueError as exc:
        raise typer.BadParameter(str(exc)) from exc


JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
FileToRead = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, metavar="FILE")]
StateOption = Annotated[
    list[str] | None,
    typer.Option("--state", parser=storable, metavar="STATE", help="Only orders in this state; may be repeated."),
]
OlderOption = Annotated[
    timedelta | None,
    typer.Option(
        "--older-than", parser=_length, metavar="LENGTH", help="Only orders created before: 90s, 15m, 1h, 2d."
    ),
]
PrefixOption = Annotated[
    str, typer.Option("--po-prefix", parser=storable, metavar="TEXT", help="Only orders whose PONumber begins so.")
]
HostOption = Annotated[str, typer.Option(help="The address to listen on.")]
SeedOption = Annotated[int, typer.Option(help="Makes chance repeatable.")]


@app.callback()
def _configure(*, verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log to stderr.")] = False) -> None:
    """Fulfillment Tracking: where every order stands, what proves it and what to do next."""
    form = "%(asctime)s %(levelname)s %(name)s %(message)s"
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format=form)
    # Its lines hold whole addresses, and ours may hold an order's secret.
    logging.getLogger("httpx").setLevel(logging.WARNING)


@app.command()
def worker(
    *,
    host: HostOption = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="For webhooks, /healthz and /metrics.")] = 8600,
) -> None:
    """Run receiver, poller and sender, without pages."""
    serving.serve_worker(host, port)


@app.command()
def sandbox(  # noqa: PLR0913 - each is an option of its own, and typer reads them from here
    *,
    host: HostOption = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8700,
    scenario: Annotated[str, typer.Option(help="How it behaves; --list says how.")] = "normal",
    file: Annotated[Path, typer.Option("--database", help="The file that remembers.")] = Path("data/sandbox-server.db"),
    traffic: Annotated[float, typer.Option(min=0, help="Orders a minute from other systems.")] = 0.0,
    history_days: Annotated[int, typer.Option(min=0, max=3650, help="Days of past for a new file.")] = 0,
    speed: Annotated[float, typer.Option(min=0.001, help="Divides every delay.")] = 1.0,
    seed: SeedOption = 0,
    listed: Annotated[bool, typer.Option("--list", help="List the scenarios and stop.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Run the simulated provider over HTTP."""
    from tracking.sandbox import SCENARIOS  # noqa: PLC0415 - the other commands need not wait for it

    if listed:
        _list_scenarios(as_json=as_json)
        return
    if scenario not in SCENARIOS:
        raise typer.BadParameter(f"{scenario!r} is no scenario; see --list", param_hint="--scenario")
    serving.serve_sandbox(
        file, host, port, scenario=scenario, traffic=traffic, history_days=history_days, speed=speed, seed=seed
    )


def _list_scenarios(*, as_json: bool) -> None:
    from tracking.sandbox import SCENARIOS  # noqa: PLC0415 - as above

    if as_json:
        terminal.show_json([{"name": each.name, "summary": each.summary} for each in SCENARIOS.values()])
        return
    table = terminal.new_table("scenario", "what it does")
    for each in SCENARIOS.values():
        terminal.add_row(table, each.name, each.summary)
    terminal.open_console().print(table)


@app.command()
def submit(
    file: FileToRead,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the file and send nothing.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Order rows once more that were in another file too.")] = False,
    wait: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="Wait until all orders are done.")
    ] = None,
    actor: Annotated[
        str | None, typer.Option(parser=storable, metavar="NAME", help="Who submits; you, when not said.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Submit orders: .json holds one request or a list of them, .csv one line item a row."""
    form = _form(file, ("json", "csv"))
    loaded = settings.load()
    store = database.connect(loaded.database_url)
    checked = _read(file, form, store, loaded.order_lines)
    if checked.problems or dry_run:
        terminal.show_checked(checked, as_json=as_json)
        raise typer.Exit(1 if checked.problems else 0)
    if checked.alike and not again:
        terminal.say(
            terminal.alike(checked), "nothing was sent: give them PONumbers, or say --again to order them once more"
        )
        raise typer.Exit(1)
    with terminal.progress("queueing") as progress:
        receipts = submissions.submit(store, checked, source=form, by=_person(actor), now=_now(), progress=progress)
    if not _sender_beats(store):
        terminal.say(
            "queued; no sender is running: start `tracking worker` or the console (`streamlit run dashboard.py`)"
        )
    standing = _wait(store, receipts, wait)
    terminal.show_receipts(receipts, standing, as_json=as_json)
    unfinished = wait is not None and any(is_open(each.state) for each in standing.values())
    raise typer.Exit(1 if unfinished or any(receipt.outcome == "rejected" for receipt in receipts) else 0)


def _read(file: Path, form: str, store: Database, chunk: int) -> Checked:
    try:
        data = file.read_bytes() if file.stat().st_size <= submissions.MAX_BYTES else b" " * (submissions.MAX_BYTES + 1)
    except OSError as exc:
        raise typer.BadParameter(f"{file} cannot be read ({exc.strerror})") from exc
    catalogue = submissions.load_catalogue(store)
    if form == "json":
        return submissions.read_json(data, storable(file.name), catalogue=catalogue, database=store)
    return submissions.read_csv(data, storable(file.name), catalogue=catalogue, chunk=chunk, now=_now(), database=store)


def _sender_beats(store: Database) -> bool:
    beat = reports.fact(store, "beat:sender")
    return beat is not None and _now() - beat[0] <= SENDER_SILENT_AFTER


def _wait(store: Database, receipts: Sequence[Receipt], seconds: float | None) -> Mapping[str, Standing]:
    """Where the orders stand, once all are done or the time is over; at once where there is nothing to wait for."""
    po_numbers = [receipt.po_number for receipt in receipts if receipt.outcome != "rejected"]
    standing = submissions.standing(store, po_numbers)
    end = time.monotonic() + (seconds or 0)
    with terminal.progress("waiting") as progress:
        while waiting := [name for name, each in standing.items() if is_open(each.state)]:
            progress(len(standing) - len(waiting), len(standing))
            left = end - time.monotonic()
            if left <= 0:
                break
            time.sleep(min(left, 0.2 + len(waiting) / 5000))
            standing |= submissions.standing(store, waiting)
    return standing


@app.command()
def order(
    po_or_id: Annotated[str, typer.Argument(metavar="PO_OR_ID", help="PONumber, provider's id or external id.")],
    *,
    as_json: JsonFlag = False,
) -> None:
    """Show one order: state, witnesses, lines, timeline."""
    store = _store()
    order_id = reports.find_order(store, po_or_id)
    if order_id is None:
        raise UnknownOrder(f"no order, or more than one, is called {po_or_id[:100]!r}")
    if as_json:
        terminal.show_json(reports.order_story(store, order_id))
        return
    now = _now()
    view = reports.order_view(store, order_id, now)
    lines = reports.lines_page(store, order_id, size=LINES_SHOWN)
    terminal.show_order(view, lines, reports.story(store, order_id, now))


@app.command()
def why(
    po_or_id: Annotated[str, typer.Argument(metavar="PO_OR_ID", help="PONumber, provider's id or external id.")],
    *,
    as_json: JsonFlag = False,
) -> None:
    """Say what is expected of an order, and why it is looked at when it is."""
    store = _store()
    order_id = reports.find_order(store, po_or_id)
    if order_id is None:
        raise UnknownOrder(f"no order, or more than one, is called {po_or_id[:100]!r}")
    told = prospects.why(store, order_id, _now())
    if as_json:
        terminal.show_json(told)
    else:
        terminal.show(f"{told['po_number']} ({told['provider_id'] or 'no id at the provider yet'})", *told["reasons"])


@app.command()
def replan(  # noqa: PLR0913 - each is an option of its own, and typer reads them from here
    *,
    since: Annotated[
        datetime | None,
        typer.Option(
            parser=_moment, metavar="T", help="From when on: 2026-01-31T09:00 (UTC), or 2h; a week if not said."
        ),
    ] = None,
    policy: Annotated[
        str | None, typer.Option(metavar="NAME", help="accrual (ours), doubling or fixed: what to try.")
    ] = None,
    rate: Annotated[float | None, typer.Option(min=0.01, max=1000, help="Calls a second at the most.")] = None,
    price: Annotated[float | None, typer.Option(min=0.1, max=3600, help="Of a call, in seconds (accrual).")] = None,
    wait: Annotated[float | None, typer.Option(min=0.2, max=86400, help="Seconds between looks (fixed).")] = None,
    floor: Annotated[float | None, typer.Option(min=0.2, max=3600, help="The shortest wait, in seconds.")] = None,
    ceiling: Annotated[float | None, typer.Option(min=0.2, max=86400, help="The longest wait, in seconds.")] = None,
    frontier: Annotated[
        bool | None, typer.Option("--frontier/--no-frontier", help="Replay a ladder of plans too.", show_default=False)
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Replay the recorded history under another schedule or budget: calls against delay."""
    from tracking.polling.backtest import comparison as laboratory  # noqa: PLC0415 - numpy is imported when first needed, not at a start

    now = _now()
    if since is not None and since >= now:
        raise typer.BadParameter("that time is yet to come", param_hint="--since")
    chosen = {"policy": policy, "rate": rate, "price": price, "wait": wait, "floor": floor, "ceiling": ceiling}
    chosen = {name: value for name, value in chosen.items() if value is not None}
    loaded = settings.load()
    if problem := laboratory.problem(loaded, chosen):
        raise typer.BadParameter(problem)
    with terminal.progress("replaying") as progress:
        told = laboratory.compute(
            database.connect(loaded.database_url),
            loaded,
            since or now - laboratory.SPAN,
            chosen,
            frontier=not chosen if frontier is None else frontier,
            progress=progress,
        )
    terminal.show_replay(told, as_json=as_json)


def _store() -> Database:
    return database.connect(settings.load().database_url)


def _filters(state: list[str] | None, older_than: timedelta | None, po_prefix: str, limit: int = 50) -> Filters:
    states = tuple(canonical(word, State) for word in state or ())
    return Filters(states=states, older_than=older_than, po_prefix=po_prefix, page_size=limit)


@app.command()
def orders(
    *,
    state: StateOption = None,
    older_than: OlderOption = None,
    po_prefix: PrefixOption = "",
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many, newest first.")] = 50,
    as_json: JsonFlag = False,
) -> None:
    """List orders, newest first."""
    store, filters, now = _store(), _filters(state, older_than, po_prefix, limit), _now()
    if as_json:
        terminal.show_json(reports.order_records(store, filters, now))
        return
    page = reports.orders_page(store, filters, now)
    right = ("cards", "value")
    table = terminal.new_table(
        "PONumber", "provider's id", "state", "type", "cards", "value", "created (UTC)", "", right=right
    )
    for row in page.rows.astype(object).to_dict("records"):
        cells = (row[name] for name in ("po_number", "provider_id", "state", "type", "units"))
        marks = [word for word, so in (("late", row["late"]), ("needs a person", row["attention"])) if so]
        terminal.add_row(table, *cells, amount(row["value_minor"]), row["created_at"], ", ".join(marks))
    terminal.open_console().print(table)
    terminal.show(f"{len(page.rows)} of {page.total}{' or more' if page.more else ''}")


@app.command()
def events(
    *,
    since: Annotated[
        datetime | None,
        typer.Option(
            parser=_moment, metavar="T", help="From when on: 2026-01-31T09:00 (UTC), or 2h for two hours ago."
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many, newest first.")] = 100,
    as_json: JsonFlag = False,
) -> None:
    """List what happened, newest first."""
    found = reports.events(_store(), since, limit)
    if as_json:
        terminal.show_json(found)
        return
    table = terminal.new_table("learned (UTC)", "PONumber", "witness", "what")
    for event in found:
        terminal.add_row(table, event["learned_at"], event["po_number"], event["witness"], event["text"])
    terminal.open_console().print(table)


@app.command()
def export(
    file: Annotated[Path, typer.Argument(dir_okay=False, help="Ends in .csv, .parquet or .jsonl.", metavar="FILE")],
    *,
    state: StateOption = None,
    older_than: OlderOption = None,
    po_prefix: PrefixOption = "",
    as_json: JsonFlag = False,
) -> None:
    """Write all orders that match into a file."""
    form = _form(file, EXPORT_FORMS)
    store = _store()
    try:
        written = _write_whole(file, store, _filters(state, older_than, po_prefix), form)
    except OSError as exc:
        terminal.say(f"{file} cannot be written ({exc.strerror})")
        raise typer.Exit(1) from exc
    if as_json:
        terminal.show_json({"file": str(file), "orders": written})
    else:
        terminal.show(f"{written} orders written to {file}")


def _write_whole(file: Path, store: Database, filters: Filters, form: str) -> int:
    """Writes the file whole or not at all, beside its place first."""
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "wb") as handle:
            written = reports.write_export(store, filters, _now(), form=form, file=handle)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink()
        raise
    return written


@app.command()
def seed(
    *,
    orders: Annotated[int, typer.Option(min=1, max=10_000_000, help="How many orders to make up.")],
    days: Annotated[int, typer.Option(min=1, max=3650, help="Over how many days.")] = 30,
    chance: Annotated[int, typer.Option("--seed", help="Makes chance repeatable.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Fill an empty store with made-up history, for a demonstration or a measurement."""
    store = _store()
    began = time.monotonic()
    with terminal.progress("making up") as progress:
        made = seeding.seed(
            store,
            orders,
            days=days,
            rng=random.Random(chance),  # noqa: S311 - made-up orders guard nothing  # nosec B311
            now=_now(),
            progress=progress,
        )
    seconds = round(time.monotonic() - began, 1)
    if as_json:
        terminal.show_json({"orders": orders, "events": made, "seconds": seconds})
    else:
        terminal.show(f"{orders} orders with {made} events made up in {seconds} s")


@app.command()
def verify(
    *,
    expected: Annotated[
        Head | None,
        typer.Option("--expect-head", parser=_head, metavar="HEAD", help="A log head that was noted down before."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Recompute every state, every counter and the chain of the log; exit 1 with the differences."""
    store = _store()
    with terminal.progress("recomputing") as progress:
        findings = audit.examine(store, progress, expected=expected)
    differences = findings.differences
    if as_json:
        terminal.show_json(
            {"agrees": not differences, "differences": differences, "head": findings.head and str(findings.head)}
        )
        raise typer.Exit(1 if differences else 0)
    if differences:
        terminal.show(*differences)
        terminal.say(f"{len(differences)} differences")
    else:
        terminal.show("every state, every counter and every event agrees with the log")
    if findings.head:
        terminal.show(f"log head: {findings.head}")
    raise typer.Exit(1 if differences else 0)


@app.command("backup")
def back_up(
    file: Annotated[Path, typer.Argument(dir_okay=False, help="The file to make.", metavar="FILE")],
    *,
    as_json: JsonFlag = False,
) -> None:
    """Copy the store into a new file while consoles work on it (SQLite)."""
    try:
        with terminal.progress("copying") as progress:
            made = backup.backup(settings.load().database_url, file, _now(), progress)
    except OSError as exc:
        terminal.say(f"{file} cannot be written ({exc.strerror})")
        raise typer.Exit(1) from exc
    if as_json:
        terminal.show_json({"file": str(file)} | asdict(made))
    else:
        size = f"{made.bytes / 2**20:.1f} MB"
        terminal.show(f"{file}: revision {made.revision}, {made.events} events of {made.orders} orders, {size}")


@app.command("restored")
def mark_restored(
    *,
    since: Annotated[
        datetime,
        typer.Option(parser=_moment, metavar="T", help="When the backup was taken: 2026-01-31T09:00 (UTC), or 2h."),
    ],
    as_json: JsonFlag = False,
) -> None:
    """Say that the store was restored, so that it is reconciled with the provider before anything is sent."""
    store, now = _store(), _now()
    if since > now:
        raise typer.BadParameter("that time is yet to come", param_hint="--since")
    store.write(lambda connection: restore_mark.mark_restored(connection, since, now))
    if as_json:
        terminal.show_json({"restored_from": since})
    else:
        terminal.show(f"marked: nothing is sent until it is known what was sent since {since:%Y-%m-%d %H:%M} UTC")


@app.command()
def erase(
    recipient: Annotated[str, typer.Argument(help="E-mail address, telephone number or name; - reads it from stdin.")],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be erased and erase nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Erase a recipient from lines, requests, documents and claim data; the log goes on to hold."""
    store, now = _store(), _now()
    if recipient == "-":
        recipient = typer.get_text_stream("stdin", errors="replace").readline()
    erasing = partial(erasure.erase, store, storable(recipient), by=_person(), now=now)
    if not dry_run and not yes:
        if not terminal.is_watched():
            raise typer.BadParameter("what is erased cannot be brought back: say --yes, or --dry-run to look first")
        foreseen = erasing(dry_run=True)
        if foreseen.orders and not typer.confirm(f"{terminal.erasure_text(foreseen)}: erase for ever?", err=True):
            raise typer.Exit(1)
    with terminal.progress("looking through") as progress:
        done = erasing(dry_run=dry_run, progress=progress)
    terminal.show_erasure(done, dry_run=dry_run, as_json=as_json)
    raise typer.Exit(0 if done.complete else 1)


@app.command()
def migrate(*, as_json: JsonFlag = False) -> None:
    """Bring the store to this version's schema."""
    before = engines.migrate(settings.load().database_url)
    if as_json:
        terminal.show_json({"before": before, "now": HEAD})
    elif before == HEAD:
        terminal.show(f"the store is at revision {before} already")
    else:
        terminal.show(f"the store went from {before or 'nothing'} to revision {HEAD}")


if __name__ == "__main__":
    main()
