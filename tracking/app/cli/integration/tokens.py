"""Commands about the API's tokens: tokens add makes one, list lists them, revoke ends one."""

from typing import Annotated, Any

import typer

from tracking.access import Access
from tracking.api.callers.tokens import make_token, revoke_token
from tracking.app.cli import options, output
from tracking.app.cli.place import open_store
from tracking.orders.observations import utc_now
from tracking.orders.wording import person
from tracking.storage.integration import tokens

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="What the token is for: it stands in logs.")]
tokens_group = typer.Typer(help="Tokens of the API: add one, list them, revoke one.", no_args_is_help=True)


@tokens_group.command("add")
def add_command(
    name: NameArgument,
    *,
    role: Annotated[
        str,
        typer.Option(parser=options.one_of(tuple(Access)), metavar="ROLE", help="viewer reads, operator also acts."),
    ] = Access.VIEWER.value,
    actor: options.ActorOption = None,
    as_json: options.JsonFlag = False,
) -> None:
    """Make a token and print it, once: only its hash is stored."""
    store, by = open_store(), options.acting_person(actor)
    token = make_token(store, name, Access(role), by=by, now=utc_now())
    output.print_stderr("this is shown once: keep it where secrets are kept")
    output.print_answer({"name": name, "role": role, "token": token}, token, as_json=as_json)


@tokens_group.command("list")
def list_command(*, as_json: options.JsonFlag = False) -> None:
    """List the tokens, the newest first: what each may, whether it counts, and how much it was used."""
    with open_store().read() as connection:
        records = [_record(row) for row in tokens.all_tokens(connection)]
    if as_json:
        output.print_json(records)
        return
    columns = ("token", "role", "made (UTC)", "by", "last used (UTC)", "reads", "acts", "revoked (UTC)")
    rows = (
        (each["name"], each["role"], each["created_at"], person(each["created_by"]), each["last_used_at"],
         f"{each['reads']:,}", f"{each['acts']:,}", each["revoked_at"])
        for each in records
    )  # fmt: skip
    output.print_table(columns, rows, right=("reads", "acts"))


@tokens_group.command("revoke")
def revoke_command(name: NameArgument, *, actor: options.ActorOption = None, as_json: options.JsonFlag = False) -> None:
    """Revoke a token: from now on it is answered with 401, and its name is given to no other."""
    revoked = revoke_token(open_store(), name, by=options.acting_person(actor), now=utc_now())
    text = f"{name} is revoked" if revoked else f"{name} was revoked before"
    output.print_answer({"name": name, "revoked": revoked}, text, as_json=as_json)


def _record(row: Any) -> dict[str, Any]:
    names = ("created_at", "created_by", "last_used_at", "reads", "acts", "revoked_at", "revoked_by")
    return {"name": row["name"], "role": row["access"], **{name: row[name] for name in names}}
