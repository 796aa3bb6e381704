"""Commands about archives: archive writes old orders to Parquet files and removes them, verify-archive checks those."""

import os
import socket
from dataclasses import asdict
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from tracking.app.cli import output
from tracking.app.cli.context import load_settings, open_store
from tracking.app.cli.files.recording import record_export
from tracking.app.cli.options import JsonFlag, acting_person, time_option
from tracking.orders.observations import utc_now
from tracking.orders.wording import count
from tracking.storage.retention.archive_check import ArchivesElsewhere, check_archives
from tracking.storage.retention.archiving import Archiver

Folder = Annotated[Path, typer.Argument(file_okay=False, help="Folder of the Parquet files.", metavar="FOLDER")]


def archive_command(
    folder: Folder,
    *,
    before: Annotated[
        datetime | None,
        time_option(
            "Orders whose last event is older: 2026-01-31T09:00 (UTC), or 720h; default: TRACKING_KEEP_DAYS ago."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report what would leave, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="On a terminal, do not ask for confirmation.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Write the logs of old completed orders to Parquet files, one a month, and then remove them from the database.

    Claim data, recipients and the bodies of API calls leave the database too, and are in no archive.
    """
    loaded, now = load_settings(), utc_now()
    if before is None and loaded.keep_days is None:
        raise typer.BadParameter("set TRACKING_KEEP_DAYS, or say from when on orders stay", param_hint="--before")
    before = before or now - timedelta(days=loaded.keep_days or 0)
    if before > now:
        raise typer.BadParameter("that time is in the future", param_hint="--before")
    store, person = open_store(loaded), acting_person()
    archiver = partial(
        Archiver, store, folder, owner=f"{socket.gethostname()}/{os.getpid()}/archive", by=person.name, clock=utc_now
    )
    # Scripts and timers are not asked: nobody would answer.
    if not dry_run and not yes and output.is_interactive():
        _confirm(sum(archiver().run(before, dry_run=True).months.values()), folder)
    with output.progress("archiving") as progress:
        result = archiver(progress=progress).run(before, dry_run=dry_run)
    if result.files:
        record_export(store, loaded, "archive", rows=result.orders)
    if dry_run:
        lines = [f"{month}: {count(orders, 'order')} would be archived" for month, orders in result.months.items()]
        number = sum(result.months.values())
        claims = "claim data would be removed and is in no archive" if number else "none is old enough"
        lines.append(f"{count(number, 'order')} in all; {claims}")
    else:
        lines = [f"written: {file}" for file in result.files]
        lines.append(f"{count(result.orders, 'order')} archived, {result.removed:,} removed from the database")
    output.print_answer({"dry_run": dry_run, "before": before} | asdict(result), *lines, as_json=as_json)
    if result.unsound and not as_json:
        output.print_stderr(
            f"{count(result.unsound, 'order')} not archived, as it does not agree with its log: tracking verify"
        )
    output.print_stderr(*(f"{file} is no longer as it was written; what it held stays here" for file in result.lost))
    if result.unsound or result.lost:
        raise typer.Exit(1)


def _confirm(orders: int, folder: Path) -> None:
    """Ask for confirmation on the terminal; without it the command ends with exit code 1."""
    leaves = f"the logs of {count(orders, 'order')} leave the database for files in {folder}, and claim data for good"
    if orders and not typer.confirm(f"{leaves}: archive and remove?", err=True):
        raise typer.Exit(1)


def verify_archive_command(
    folder: Folder,
    *,
    all_folders: Annotated[
        bool, typer.Option("--all-folders", help="Also verify files in other folders, where they were written to.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Verify every archived order's chain, and that the database goes on where it ends; exit 1 with the differences."""
    store = open_store()
    with output.progress("reading") as progress:
        result = check_archives(store, folder, progress, all_folders=all_folders)
    holds = f"{count(result.files, 'file')}: every archived event agrees with its chain and with the database"
    lines = [*(result.differences or [holds]), *map(_elsewhere, result.elsewhere)]
    output.print_answer({"agrees": not result.differences} | result._asdict(), *lines, as_json=as_json)
    if result.differences:
        raise typer.Exit(1)


def _elsewhere(place: ArchivesElsewhere) -> str:
    files = f"{count(place.files, 'file')} of {', '.join(place.months)}"
    why = "--all-folders verifies that folder too" if place.is_there else "that folder is not on this machine"
    return f"not verified: {files}, written to {place.folder} ({why})"
