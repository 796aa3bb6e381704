"""Commands about outgoing webhooks: hooks add, list, show, pause, resume, remove, rotate, deliveries and more."""

import asyncio
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from tracking.app.cli import options, output
from tracking.app.cli.context import load_settings, open_store
from tracking.delivery import subscribing
from tracking.delivery.signing import Secret, SecretCipher, SecretRefused, read_secret
from tracking.delivery.subscribing import EVENT_TYPES, ORDER_TYPES, OVERLAP, NewHook
from tracking.orders.observations import utc_now
from tracking.provider.json_fields import storable
from tracking.reports.order import id_of_order
from tracking.reports.outgoing import hooks as reports
from tracking.settings.values import Settings
from tracking.storage.database import Database

hooks_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Outgoing webhooks: who is notified of which events of orders, and what came of it.",
)
Name = Annotated[str, typer.Argument(parser=storable, metavar="NAME", help="The subscription's name.")]
SecretFile = Annotated[
    Path | None,
    typer.Option("--secret-file", exists=True, dir_okay=False, help="A file with its whsec_ secret; else one is made."),
]


def _opened() -> tuple[Settings, Database]:
    loaded = load_settings()
    return loaded, open_store(loaded)


def _cipher(loaded: Settings) -> SecretCipher:
    return SecretCipher(loaded.claims_keys())


def _how(loaded: Settings) -> dict[str, Any]:
    return {"cipher": _cipher(loaded), "allowed": loaded.hooks_allow}


def _secret(file: Path | None) -> Secret | None:
    try:
        return read_secret(file.read_text("utf-8")) if file else None
    except SecretRefused as exc:
        raise typer.BadParameter(f"{file}: it {exc}") from exc


def _print_secret(name: str, secret: Secret, *, made: bool, as_json: bool) -> None:
    record = {"name": name, "secret": secret.text if made else None}
    lines = [f"secret: {secret.text}", "It is shown this once: give it to the receiver now."] if made else []
    output.print_answer(record, *lines, as_json=as_json)


@hooks_app.command("add")
def add_command(  # noqa: PLR0913 - one for each option
    name: Name,
    url: Annotated[str, typer.Argument(metavar="URL", help="Where to: https://host.example/path.")],
    *,
    event_types: Annotated[
        list[str] | None,
        typer.Option("--event", parser=options.one_of(EVENT_TYPES), help="Only this type; can be repeated."),
    ] = None,
    po_prefix: options.PrefixOption = "",
    order_type: Annotated[
        str | None, typer.Option("--type", parser=options.one_of(ORDER_TYPES), help="Only orders of this type.")
    ] = None,
    source: Annotated[str | None, typer.Option("--source", parser=storable, help="Only orders from there.")] = None,
    secret_file: SecretFile = None,
    actor: options.ActorOption = None,
    as_json: options.JsonFlag = False,
) -> None:
    """Add a subscription: from now on it is notified of what happens; prints its secret, once."""
    (loaded, store), given = _opened(), _secret(secret_file)
    hook = NewHook(name, url, tuple(event_types or ()), po_prefix or None, order_type, source)
    how = _how(loaded)
    by = options.acting_person(actor)
    secret = subscribing.add(store, hook, **how, by=by, now=utc_now(), secret=given)
    _print_secret(subscribing.readable(name), secret, made=given is None, as_json=as_json)


@hooks_app.command("list")
def list_command(*, as_json: options.JsonFlag = False) -> None:
    """List the subscriptions: state, last success, and how many deliveries wait."""
    _, store = _opened()
    listed = reports.hooks(store)
    if as_json:
        output.print_json([reports.hook_record(each) for each in listed])
        return
    rows = (
        (each.name, each.url, ", ".join(each.event_types) or "all", each.state, each.succeeded_at, each.waiting_text)
        for each in listed
    )
    output.print_table(("name", "URL", "events", "state", "last success (UTC)", "waiting"), rows, right=("waiting",))


@hooks_app.command("show")
def show_command(name: Name, *, as_json: options.JsonFlag = False) -> None:
    """Show one subscription."""
    _, store = _opened()
    record = reports.hook_record(reports.hook(store, name))
    parts = ((each, _text(each, value)) for each, value in record.items())
    lines = [f"{each.replace('_', ' ')}: {text}" for each, text in parts if text]
    output.print_answer(record, *lines, as_json=as_json)


def _text(name: str, value: Any) -> str:
    """A part of a subscription for people; empty where there is nothing to say."""
    if name == "event_types":
        return ", ".join(value) or "all"
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, str) and name.endswith(("_at", "_since", "_from")):
        return f"{output.time_text(datetime.fromisoformat(value))} UTC"
    return "" if value is None else str(value)


@hooks_app.command("pause")
def pause_command(name: Name, *, actor: options.ActorOption = None) -> None:
    """Send nothing until it is resumed; what happens meanwhile waits for it."""
    _, store = _opened()
    subscribing.pause(store, name, by=options.acting_person(actor), now=utc_now())
    output.print_stderr(f"{name} is paused: what happens waits for it")


@hooks_app.command("resume")
def resume_command(name: Name, *, actor: options.ActorOption = None) -> None:
    """Send again, what waited first; also after it was switched off."""
    _, store = _opened()
    subscribing.resume(store, name, by=options.acting_person(actor), now=utc_now())
    output.print_stderr(f"{name} is active: what waited is sent, the oldest first")


@hooks_app.command("remove")
def remove_command(name: Name, *, actor: options.ActorOption = None) -> None:
    """Remove it with its secrets; what waits for it is dropped."""
    _, store = _opened()
    subscribing.remove(store, name, by=options.acting_person(actor), now=utc_now())
    output.print_stderr(f"{name} is removed, and what waited for it is dropped")


@hooks_app.command("rotate")
def rotate_command(
    name: Name,
    *,
    overlap_hours: Annotated[
        float, typer.Option("--overlap-hours", min=0, max=720, help="For how long the secret before signs too.")
    ] = OVERLAP / timedelta(hours=1),
    secret_file: SecretFile = None,
    actor: options.ActorOption = None,
    as_json: options.JsonFlag = False,
) -> None:
    """Give it another secret, printed once; the one before signs too for a while."""
    (loaded, store), given = _opened(), _secret(secret_file)
    by, overlap = options.acting_person(actor), timedelta(hours=overlap_hours)
    fresh = subscribing.rotate(store, name, cipher=_cipher(loaded), by=by, now=utc_now(), overlap=overlap, secret=given)
    _print_secret(name, fresh, made=given is None, as_json=as_json)


@hooks_app.command("deliveries")
def deliveries_command(
    name: Annotated[str, typer.Option("--hook", parser=storable, metavar="NAME", help="Only of this one.")] = "",
    *,
    state: Annotated[str, typer.Option("--state", parser=options.one_of(("", *reports.STATES)))] = "",
    order: Annotated[str, typer.Option("--order", parser=storable, metavar="PO_OR_ID", help="Only of one order.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Maximum number, newest first.")] = 50,
    as_json: options.JsonFlag = False,
) -> None:
    """List deliveries with attempts and the last answer, newest first."""
    _, store = _opened()
    hook_id = reports.hook(store, name).id if name else None
    order_id = (id_of_order(store, order) or 0) if order else None
    listed, more = reports.delivery_page(store, reports.DeliveryFilters(hook_id, state, order_id), limit=limit)
    if as_json:
        output.print_json([reports.delivery_record(each) for each in listed])
        return
    rows = (
        (each.id, each.created_at, each.hook, each.event_type, each.po_number, each.state, each.attempts, each.answer)
        for each in listed
    )
    columns = ("number", "time (UTC)", "hook", "event", "PO number", "state", "attempts", "last answer")
    output.print_table(columns, rows, right=("number", "attempts"))
    if more is not None:
        output.print_stderr(f"there are more: --limit beyond {limit}")


@hooks_app.command("send-again")
def send_again_command(
    numbers: Annotated[list[int], typer.Argument(metavar="NUMBER...", help="Numbers of deliveries.")],
    *,
    actor: options.ActorOption = None,
) -> None:
    """Send deliveries once more, under the same ids."""
    from tracking.delivery import resending  # noqa: PLC0415 - speaks HTTP, whose library no start has to wait for

    _, store = _opened()
    number = resending.send_again(store, numbers, by=options.acting_person(actor), now=utc_now())
    output.print_stdout(f"{number:,} wait to be sent again")


@hooks_app.command("skip")
def skip_command(
    numbers: Annotated[list[int], typer.Argument(metavar="NUMBER...", help="Numbers of deliveries that wait.")],
    *,
    reason: Annotated[str, typer.Option(parser=storable, help="Why: it stays with the delivery.")],
    actor: options.ActorOption = None,
) -> None:
    """Have deliveries that wait never be sent, so that what their orders have to tell after them leaves."""
    from tracking.delivery import skipping  # noqa: PLC0415 - as above

    _, store = _opened()
    number = skipping.skip(store, numbers, reason, by=options.acting_person(actor), now=utc_now())
    output.print_stdout(f"{number:,} skipped" if number else "skipped before")


@hooks_app.command("replay")
def replay_command(
    name: Name,
    *,
    since: Annotated[datetime, options.time_option("Start: 2026-01-31T09:00 (UTC), or 2h for two hours ago.")],
    until: Annotated[datetime | None, options.time_option("End, not included; now without one.")] = None,
    actor: options.ActorOption = None,
) -> None:
    """Send all that was learned in a span once more, or for the first time, under the same ids; nothing skipped."""
    from tracking.delivery import resending  # noqa: PLC0415 - as above

    _, store = _opened()
    by, now = options.acting_person(actor), utc_now()
    result = resending.replay(store, name, since, until or now, by=by, now=now)
    output.print_stdout(f"{result.waiting:,} wait to be sent")
    if result.skipped:
        output.print_stderr(
            f"{result.skipped:,} were skipped before and stay skipped: `tracking hooks send-again` sends them"
        )


@hooks_app.command("test")
def try_command(name: Name, *, actor: options.ActorOption = None) -> None:
    """Send one signed message of the type "test", and say what it was answered."""
    from tracking.delivery.posting import Poster  # noqa: PLC0415 - as above
    from tracking.delivery.resending import send_test  # noqa: PLC0415 - as above

    loaded, store = _opened()
    how = _how(loaded) | {"poster": Poster(loaded.hooks_allow)}
    by = options.acting_person(actor)
    reply = asyncio.run(send_test(store, name, **how, by=by, now=utc_now()))
    output.print_stdout(reports.answer_words(reply.status, reply.error))
    raise typer.Exit(0 if reply.delivered else 1)


@hooks_app.command("import")
def import_command(
    file: options.FileToRead, *, actor: options.ActorOption = None, as_json: options.JsonFlag = False
) -> None:
    """Add the subscriptions of a TOML file that are missing; what exists is left as it is."""
    from tracking.delivery.importing import import_file  # noqa: PLC0415 - as above

    loaded, store = _opened()
    by = options.acting_person(actor)
    imported = import_file(store, file, **_how(loaded), by=by, now=utc_now())
    record = {"added": imported.added, "left": imported.left}
    lines = [f"added: {', '.join(imported.added) or 'none'}", f"left as they are: {', '.join(imported.left) or 'none'}"]
    output.print_answer(record, *lines, as_json=as_json)
