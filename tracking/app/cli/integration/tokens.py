"""Commands about the API's tokens: tokens add makes one, list lists them, revoke ends one."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer

from tracking.access import Access
from tracking.api.callers.tokens import (
    DAYS,
    MOST_DAYS,
    Standing,
    Token,
    listed_tokens,
    make_token,
    revoke_token,
)
from tracking.app.cli import options, output
from tracking.app.cli.context import open_store
from tracking.orders import wording
from tracking.orders.observations import utc_now

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="What the token is for: it stands in logs.")]
tokens_group = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Tokens of the API: add one, list them, revoke one."
)


@tokens_group.command("add")
def add_command(
    name: NameArgument,
    *,
    role: Annotated[
        str,
        typer.Option(parser=options.one_of(tuple(Access)), metavar="ROLE", help="viewer reads, operator also acts."),
    ] = Access.VIEWER.value,
    days: Annotated[
        int, typer.Option(min=1, max=MOST_DAYS, help="For how many days it counts: renew it before they are over.")
    ] = DAYS,
    never: Annotated[bool, typer.Option("--never-expires", help="It counts until it is revoked.")] = False,
    actor: options.ActorOption = None,
    as_json: options.JsonFlag = False,
) -> None:
    """Make a token and print it, once: only its hash is stored."""
    store, by = open_store(), options.acting_person(actor)
    now, counts_for = utc_now(), None if never else days
    token = make_token(store, name, Access(role), by=by, now=now, days=counts_for)
    ends = "it never expires" if counts_for is None else f"it expires after {wording.count(counts_for, 'day')}"
    output.print_stderr(f"this is shown once: keep it where secrets are kept; {ends}")
    record = {"name": name, "role": role, "days": counts_for, "token": token}
    output.print_answer(record, token, as_json=as_json)


@tokens_group.command("list")
def list_command(*, as_json: options.JsonFlag = False) -> None:
    """List the tokens, the newest first: what each may, whether it counts and until when, and how much it was used."""
    now, listed = utc_now(), listed_tokens(open_store(), None)
    if as_json:
        output.print_json([_record(each, now) for each in listed])
        return
    columns = ("token", "role", "state", "made (UTC)", "by", "expires (UTC)", "last used (UTC)", "reads", "acts")
    rows = (
        (each.name, each.access, each.standing(now), each.created_at, wording.person(each.created_by),
         each.expires_at or "never", each.last_used_at, f"{each.reads:,}", f"{each.acts:,}")
        for each in listed
    )  # fmt: skip
    output.print_table(columns, rows, right=("reads", "acts"))
    for each in listed:
        if each.standing(now) is Standing.EXPIRES_SOON:
            output.print_stderr(f"{each.name} {each.ends(now)}: make another one and have its programs change over")


@tokens_group.command("revoke")
def revoke_command(name: NameArgument, *, actor: options.ActorOption = None, as_json: options.JsonFlag = False) -> None:
    """Revoke a token: from now on it is answered with 401, and its name is given to no other."""
    revoked = revoke_token(open_store(), name, by=options.acting_person(actor), now=utc_now())
    text = f"{name} is revoked" if revoked else f"{name} was revoked before"
    output.print_answer({"name": name, "revoked": revoked}, text, as_json=as_json)


def _record(token: Token, now: datetime) -> dict[str, Any]:
    record = asdict(token)
    return {"name": record.pop("name"), "role": record.pop("access"), "state": token.standing(now).value, **record}
