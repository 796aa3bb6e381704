"""Commands for the database: seed, verify, backup, restored, erase, migrate; replan compares plans, contract reads."""

import random
import time
from dataclasses import asdict
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from tracking.app.cli import output
from tracking.app.cli.context import load_settings, open_store, print_store
from tracking.app.cli.files.recording import record_export
from tracking.app.cli.options import (
    JsonFlag,
    SeedOption,
    acting_person,
    option_parser,
    time_option,
)
from tracking.app.demonstration import seeding
from tracking.errors import StoreError
from tracking.orders.observations import utc_now
from tracking.provider.json_fields import storable
from tracking.reports.finding.lookup import unread_orders
from tracking.reports.logs import contract
from tracking.storage import database, engines
from tracking.storage.maintenance import backup, restore_mark
from tracking.storage.maintenance.verify import LogHead, examine
from tracking.storage.migrations import HEAD
from tracking.submissions import erasure

_CONTRACT_COLUMNS = (
    *("endpoint", "kind", "where", "what", "contract", "change", "answers", "first (UTC)", "last (UTC)", "example"),
)

_log_head = option_parser(LogHead.parse)
AuditHeadOption = Annotated[
    LogHead | None,
    typer.Option(
        "--expect-audit-head", parser=_log_head, metavar="HEAD", help="An audit log head printed by an earlier verify."
    ),
]
LogHeadOption = Annotated[
    LogHead | None,
    typer.Option("--expect-head", parser=_log_head, metavar="HEAD", help="A log head printed by an earlier verify."),
]


def replan_command(  # noqa: PLR0913 - each is an option of its own, and typer reads them from here
    *,
    since: Annotated[
        datetime | None,
        time_option("Start of the history: 2026-01-31T09:00 (UTC), or 2h for two hours ago; default: a week."),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The policy to try: accrual (the current one), doubling or fixed."),
    ] = None,
    rate: Annotated[float | None, typer.Option(min=0.01, max=1000, help="API calls per second at most.")] = None,
    price: Annotated[
        float | None, typer.Option(min=0.1, max=3600, help="Price of an API call, in seconds (accrual).")
    ] = None,
    wait: Annotated[float | None, typer.Option(min=0.2, max=86400, help="Seconds between polls (fixed).")] = None,
    floor: Annotated[
        float | None, typer.Option(min=0.2, max=3600, help="Shortest wait between polls, in seconds.")
    ] = None,
    ceiling: Annotated[
        float | None, typer.Option(min=0.2, max=86400, help="Longest wait between polls, in seconds.")
    ] = None,
    frontier: Annotated[
        bool | None, typer.Option("--frontier/--no-frontier", help="Also replay a range of plans.", show_default=False)
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Replay the recorded history under another polling plan: API calls against detection delay."""
    from tracking.polling.backtest import comparison  # noqa: PLC0415 - numpy is imported when first needed, not at a start

    now = utc_now()
    if since is not None and since >= now:
        raise typer.BadParameter("that time is in the future", param_hint="--since")
    options = {"policy": policy, "rate": rate, "price": price, "wait": wait, "floor": floor, "ceiling": ceiling}
    options = {name: value for name, value in options.items() if value is not None}
    loaded = load_settings()
    if problem := comparison.plan_error(loaded, options):
        raise typer.BadParameter(problem)
    with output.progress("replaying") as progress:
        result = comparison.compare_plans(
            open_store(loaded),
            loaded,
            since or now - comparison.SPAN,
            options,
            frontier=not options if frontier is None else frontier,
            progress=progress,
        )
    output.print_backtest(result, as_json=as_json)


def seed_command(
    *,
    orders: Annotated[int, typer.Option(min=1, max=10_000_000, help="Number of orders to make up.")],
    days: Annotated[int, typer.Option(min=1, max=3650, help="Days to spread them over.")] = 30,
    chance: SeedOption = 0,
    as_json: JsonFlag = False,
) -> None:
    """Fill an empty database with made-up history, for a demonstration or a measurement."""
    store = open_store(create=True)
    began = time.monotonic()
    with output.progress("making up") as progress:
        rng = random.Random(chance)  # noqa: S311 - made-up orders guard nothing  # nosec B311
        events = seeding.seed(store, orders, days=days, rng=rng, now=utc_now(), progress=progress)
    seconds = round(time.monotonic() - began, 1)
    record = {"orders": orders, "events": events, "seconds": seconds}
    output.print_answer(record, f"{orders} orders with {events} events made up in {seconds} s", as_json=as_json)


def verify_command(
    *, expected: LogHeadOption = None, expected_audit: AuditHeadOption = None, as_json: JsonFlag = False
) -> None:
    """Recompute every state, every counter and the hash chain from the event log; exit 1 with the differences."""
    store = open_store()
    with output.progress("recomputing") as progress:
        findings = examine(store, progress, expected=expected, expected_audit=expected_audit)
    differences = findings.differences
    head = findings.head and str(findings.head)
    lines = differences or ["every state, every counter and every event agrees with the log"]
    audit_head = findings.audit_head and str(findings.audit_head)
    record = {"agrees": not differences, "differences": differences, "head": head, "audit_head": audit_head}
    heads = ((f"audit log head: {audit_head}", audit_head), (f"log head: {head}", head))
    output.print_answer(record, *lines, *(text for text, there in heads if there), as_json=as_json)
    if differences:
        if not as_json:
            output.print_stderr(f"{len(differences)} differences")
        raise typer.Exit(1)


def backup_command(
    file: Annotated[Path, typer.Argument(dir_okay=False, help="The file to create.", metavar="FILE")],
    *,
    as_json: JsonFlag = False,
) -> None:
    """Copy the database into a new file while it is in use (SQLite)."""
    loaded = load_settings()
    url = loaded.database_url
    print_store(url)
    try:
        with output.progress("copying") as progress:
            copy = backup.backup(url, file, utc_now(), progress)
    except OSError as exc:
        output.print_stderr(f"{file} cannot be written ({exc.strerror})")
        raise typer.Exit(1) from exc
    try:
        record_export(database.connect(url, create=False), loaded, "backup", rows=copy.orders)
    except StoreError as exc:  # a store of an earlier version has no audit log, and is copied before it is migrated
        output.print_stderr(f"the copy is not in the audit log: {exc}")
    size = f"{copy.bytes / 2**20:.1f} MB"
    text = f"{file}: revision {copy.revision}, {copy.events} events of {copy.orders} orders, {size}"
    output.print_answer({"file": str(file)} | asdict(copy), text, as_json=as_json)


def restored_command(
    *,
    since: Annotated[
        datetime, time_option("When the backup was taken: 2026-01-31T09:00 (UTC), or 2h for two hours ago.")
    ],
    as_json: JsonFlag = False,
) -> None:
    """Mark the database as restored from a backup: it is reconciled with the provider before anything is sent."""
    store, now = open_store(), utc_now()
    if since > now:
        raise typer.BadParameter("that time is in the future", param_hint="--since")
    store.write(lambda connection: restore_mark.mark_restored(connection, since, now))
    text = (
        f"marked as restored: sending waits until the provider was asked for orders since {output.time_text(since)} UTC"
    )
    output.print_answer({"restored_from": since}, text, as_json=as_json)


def erase_command(
    recipient: Annotated[str, typer.Argument(help="E-mail address, telephone number or name; - reads from stdin.")],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report what would be erased, and erase nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Erase a recipient from lines, requests, documents and claim data; the event log stays verifiable."""
    store, now = open_store(), utc_now()
    if recipient == "-":
        recipient = typer.get_text_stream("stdin", errors="replace").readline()
    erasing = partial(erasure.erase, store, storable(recipient), by=acting_person(), now=now)
    if not dry_run and not yes:
        if not output.is_interactive():
            raise typer.BadParameter("erasing cannot be undone: confirm with --yes, or check first with --dry-run")
        preview = erasing(dry_run=True)
        if preview.anything and not typer.confirm(f"{output.erasure_text(preview)}: erase permanently?", err=True):
            raise typer.Exit(1)
    with output.progress("searching") as progress:
        erasure_result = erasing(dry_run=dry_run, progress=progress)
    output.print_erasure(erasure_result, dry_run=dry_run, as_json=as_json)
    raise typer.Exit(0 if erasure_result.complete else 1)


def migrate_command(*, as_json: JsonFlag = False) -> None:
    """Migrate the database to this version's schema."""
    url = load_settings().database_url
    print_store(url)
    database.make_place(url)
    before = engines.migrate(url)
    moved = f"the database was migrated from {before or 'nothing'} to revision {HEAD}"
    text = f"the database is already at revision {before}" if before == HEAD else moved
    with database.connect(url, create=False).read() as connection:
        unread = unread_orders(connection)
    sentences = [f"{unread:,} orders are read for the search by parts of ids meanwhile, newest first"] if unread else []
    answer = {"before": before, "now": HEAD, "orders_not_searched": unread}
    output.print_answer(answer, text, *sentences, as_json=as_json)


def contract_command(
    *,
    new: Annotated[bool, typer.Option("--new", help="Only what is new or gone since the baseline.")] = False,
    undocumented: Annotated[bool, typer.Option("--undocumented", help="Only what the contract does not name.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """List what the provider's API was seen to use: fields, words, types, status codes."""
    store, now = open_store(), utc_now()
    state = contract.contract_state(store)
    rows = contract.sightings(store, now, only="changed" if new else "undocumented" if undocumented else "")
    if as_json:
        learning = state.learning._asdict() if state.learning else None
        output.print_json({"learning": learning, "unread": [asdict(each) for each in state.changes], "sightings": rows})
        return
    if text := contract.learning_text(state.learning):
        output.print_stderr(text)
    output.print_stdout(*(f"{each.text} ({output.time_text(each.at)} UTC)" for each in state.changes))
    cells = (
        (
            *(row["endpoint"], contract.KINDS[row["kind"]], row["place"], row["value"]),
            "documented" if row["documented"] else "undocumented",
            *(row[name] for name in ("change", "times", "first_at", "last_at", "example")),
        )
        for row in rows
    )
    output.print_table(_CONTRACT_COLUMNS, cells, right=("answers",))
