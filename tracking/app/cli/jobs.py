"""Commands for acts on many orders: bulk plans and starts one, jobs lists, stops, resumes and exports them."""

import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from tracking.access import Person
from tracking.app.cli import filter_options, options, output
from tracking.app.cli.context import load_settings, open_store
from tracking.app.cli.files.recording import record_export
from tracking.orders import wording
from tracking.orders.observations import utc_now
from tracking.provider.json_fields import storable
from tracking.reports import amounts, health
from tracking.reports.order_list.filters import Filters
from tracking.reports.team import jobs as job_reports
from tracking.settings.values import Settings
from tracking.storage.database import Database
from tracking.team import jobs
from tracking.team.plans import CALLS, Act, Parameters, Plan, check_parameters, least_time, plan

ACTS = {act.value.replace(" ", "-"): act for act in Act if act is not Act.IMPORT}
POLL_SECONDS = 0.5


@filter_options.takes_filters
def bulk_command(  # noqa: PLR0913 - each is an option of its own, and typer reads them from here
    act: Annotated[
        str, typer.Argument(parser=options.one_of(tuple(ACTS)), metavar="ACT", help=f"What to do: {', '.join(ACTS)}.")
    ],
    *,
    filters: Filters,
    all_orders: Annotated[bool, typer.Option("--all", help="Without a filter: act on all orders.")] = False,
    why: Annotated[
        str | None, typer.Option("--why", parser=storable, metavar="TEXT", help="Why you acknowledge, snooze, reopen.")
    ] = None,
    until: Annotated[
        datetime | None, options.time_ahead_option("Snooze until then: 2026-01-31T09:00 (UTC), or 3h; else any change.")
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", parser=storable, metavar="NAME", help="Assign to NAME; '' for nobody.")
    ] = None,
    only_plan: Annotated[bool, typer.Option("--plan", help="Show what would be done, and do nothing.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the job is complete or stopped.")] = False,
    key: Annotated[
        str | None, typer.Option("--key", parser=storable, metavar="TEXT", help="Called twice with it, it is one job.")
    ] = None,
    actor: options.ActorOption = None,
    as_json: options.JsonFlag = False,
) -> None:
    """Do one act on all matching orders: plan it, or start it as a job."""
    if filters == Filters() and not all_orders:
        raise typer.BadParameter("no filter is given: name one, or --all for all orders")
    if ACTS[act] is Act.ASSIGN and to is None:
        raise typer.BadParameter("assign needs --to NAME, or --to '' for nobody")
    parameters = Parameters(why, until, to)
    loaded = load_settings()
    store = open_store(loaded)
    if only_plan:
        parameters = check_parameters(ACTS[act], parameters, utc_now())  # what cannot be started is not planned either
        foreseen = plan(store, filters, ACTS[act], parameters, now=utc_now(), max_rate=loaded.api_max_rate)
        output.print_answer(_plan_record(foreseen), *_plan_lines(act, foreseen), as_json=as_json)
        return
    by, asked = options.acting_person(actor), key or str(uuid.uuid4())
    secret = loaded.webhook_secrets()[0]
    job_id = jobs.start(store, filters, ACTS[act], parameters, key=asked, by=by, now=utc_now(), secret=secret)
    if absent := health.absent_loop(store, "jobs", utc_now()):
        output.print_stderr(f"started; {absent}")
    status = _wait(store, job_id) if wait else _status(store, job_id)
    output.print_answer(asdict(status), *_job_lines(status), as_json=as_json)
    if wait and status.state != "finished":
        raise typer.Exit(1)


def _wait(store: Database, job_id: int) -> job_reports.JobStatus:
    with output.progress("working") as progress:
        while (status := job_reports.job(store, job_id, utc_now())).state == "running":
            progress(status.total - status.waiting, status.total)
            time.sleep(POLL_SECONDS)
    return status


def jobs_command(
    job: Annotated[int | None, typer.Argument(min=1, metavar="ID", help="One job; without it, all.")] = None,
    *,
    stop: Annotated[bool, typer.Option("--stop", help="Stop it: the orders that wait stay as they are.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where it was stopped.")] = False,
    export: Annotated[
        Path | None, options.export_option("Its orders as .csv, .parquet or .jsonl; -: as .csv to stdout.")
    ] = None,
    page: Annotated[int, typer.Option(min=1, help="Which page of the list.")] = 1,
    actor: options.ActorOption = None,
    as_json: options.JsonFlag = False,
) -> None:
    """List the jobs, newest first; or show, stop, resume or export one."""
    if (stop and resume) or (job is None and (stop or resume or export)):
        raise typer.BadParameter("--stop, --resume and --export need the ID of a job, and one of the first two at most")
    loaded = load_settings()
    store = open_store(loaded)
    if job is None:
        _list_jobs(store, page, as_json=as_json)
        return
    _change(store, job, options.acting_person(actor), stop=stop, resume=resume)
    if export is not None:
        _export(store, loaded, job, export, as_json=as_json)
        return
    status = _status(store, job)
    output.print_answer(asdict(status), *_job_lines(status), as_json=as_json)


def _status(store: Database, job_id: int) -> job_reports.JobStatus:
    """The job, without an end where it needs API calls and none gets through, which is said."""
    now = utc_now()
    status = job_reports.job(store, job_id, now)
    if status.state != "running" or status.act not in CALLS:
        return status
    trouble = health.why_no_calls(health.health(store, now), now)
    if trouble:
        output.print_stderr(f"no end can be told: {trouble}")
    return replace(status, ends_at=None) if trouble else status


def _change(store: Database, job: int, by: Person, *, stop: bool, resume: bool) -> None:
    if stop:
        jobs.stop(store, job, by=by, now=utc_now())
    if resume:
        jobs.resume(store, job, by=by, now=utc_now())


def _list_jobs(store: Database, page: int, *, as_json: bool) -> None:
    listed = job_reports.jobs(store, page)
    if as_json:
        if listed.total > len(listed.jobs):
            output.print_stderr(f"{len(listed.jobs)} of {listed.total}")
        output.print_json([asdict(each) for each in listed.jobs])
        return
    rows = (
        (each.id, each.act, each.person, each.created_at, each.state_label, each.done, each.skipped, each.waiting)
        for each in listed.jobs
    )
    numbers = ("job", "done", "skipped", "waiting")
    output.print_table(("job", "act", "by", "started (UTC)", "state", *numbers[1:]), rows, right=numbers)
    output.print_stdout(f"{len(listed.jobs)} of {listed.total}")


def _export(store: Database, loaded: Settings, job: int, file: Path, *, as_json: bool) -> None:
    form = options.file_format(file, ("csv", "parquet", "jsonl"))
    options.say_replaced(file)
    with options.file_to_write(file) as handle:
        count = job_reports.write_touched(store, job, form=form, file=handle)
        record_export(store, loaded, "orders of a job", job_id=job, form=form, rows=count)
    line = f"{wording.count(count, 'order')} of job {job} written to {options.place_of(file)}"
    options.print_written(file, {"file": str(file), "orders": count}, line, as_json=as_json)


def _plan_record(foreseen: Plan) -> Mapping[str, Any]:
    return asdict(foreseen) | {"values": amounts.decimal_texts(foreseen.values)}


def _plan_lines(act: str, foreseen: Plan) -> list[str]:
    more = " at least, more than one job may have" if foreseen.too_many else ""
    worth = f", worth {amounts.worth(foreseen.values)}" if foreseen.acting else ""
    lines = [f"{act}: {foreseen.acting:,} of {wording.count(foreseen.total, 'order')}{more}{worth}"]
    lines += [f"{number:,} skipped: {why}" for why, number in foreseen.skipped.items()]
    if not foreseen.acting:
        return [*lines, "nothing would be done: this is the plan"]
    calls = wording.count(foreseen.calls, "API call") if foreseen.calls else "no API calls"
    return [*lines, f"{calls}, takes {least_time(foreseen)} or more; nothing was done: this is the plan"]


def _job_lines(status: job_reports.JobStatus) -> list[str]:
    # An import acts in the name of whoever last had it go on.
    who = f"in the name of {status.person}, started" if status.act == Act.IMPORT else f"started by {status.person}"
    who = f"job {status.id}: {status.act}, {who} at {output.time_text(status.created_at)} UTC"
    counts = f"{status.state_label}: {status.done:,} done, {status.skipped:,} skipped, {status.waiting:,} waiting"
    if status.ends_at:
        counts += f", ends at about {output.time_text(status.ends_at)} UTC"
    changed = (
        [f"{status.state_label} by {status.changed_by}"] if status.changed_by and status.state == "stopped" else []
    )
    return [who, counts, *changed, *(f"{number:,} skipped: {why}" for why, number in status.skipped_why.items())]
