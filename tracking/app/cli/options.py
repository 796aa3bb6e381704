"""Options that several commands share, and parsers of their text: durations, times, file formats."""

import contextlib
import functools
import getpass
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Annotated, Any, TypeVar

import typer

from tracking import files
from tracking.access import Person
from tracking.app.cli import output
from tracking.errors import NotPermitted
from tracking.orders.observations import utc_now
from tracking.provider.json_fields import storable
from tracking.reports.order_list import query_params
from tracking.reports.order_list.filters import REASONS, VIEWS

STREAM = Path("-")  # in place of a file: stdin or stdout


def _readable_file(path: Path) -> Path:
    # As typer itself does with `exists`, which takes - for a file's name where a Path is asked for.
    if path != STREAM and not path.exists():
        raise typer.BadParameter(f"file {str(path)!r} does not exist.")
    if path.is_dir():
        raise typer.BadParameter(f"file {str(path)!r} is a directory.")
    if path != STREAM and not os.access(path, os.R_OK):
        raise typer.BadParameter(f"file {str(path)!r} is not readable.")
    return path


JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
FileToRead = Annotated[Path, typer.Argument(callback=_readable_file, metavar="FILE", help="-: stdin.")]
FormatOption = Annotated[
    str | None, typer.Option("--format", metavar="FORMAT", help="The format, where FILE is - and its name says none.")
]
StateOption = Annotated[
    list[str] | None,
    typer.Option("--state", parser=storable, metavar="STATE", help="Only orders in this state; can be repeated."),
]
PrefixOption = Annotated[
    str,
    typer.Option("--po-prefix", parser=storable, metavar="TEXT", help="Only orders whose PO number starts with this."),
]
ActorOption = Annotated[str | None, typer.Option("--actor", parser=storable, metavar="NAME", help="Who acts; you.")]
HostOption = Annotated[str, typer.Option(help="Address to listen on.")]
SeedOption = Annotated[int, typer.Option("--seed", help="Seed of the random numbers, to repeat a run.")]
PoOrId = Annotated[str, typer.Argument(metavar="PO_OR_ID", help="PO number, provider ID or external ID.")]
T = TypeVar("T")


def export_option(what: str) -> Any:
    """Make the option --export of a command that shows something: a file for it, whose contents `what` names."""
    return typer.Option("--export", dir_okay=False, metavar="FILE", help=what)


def option_parser(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Make a parser of an option whose ValueError says what is wrong with the text."""

    @functools.wraps(parse)
    def parse_option(text: str) -> T:
        try:
            return parse(text)
        except ValueError as exc:
            raise typer.BadParameter(str(exc)) from exc

    return parse_option


def _parse_time(text: str) -> datetime:
    """Parse an ISO time, UTC where no zone is named, or a length before now such as 2h."""
    with contextlib.suppress(ValueError, OverflowError):
        at = datetime.fromisoformat(text.strip())
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    try:
        return utc_now() - query_params.parse_length(text)
    except (ValueError, OverflowError) as exc:
        raise typer.BadParameter(
            f"{text[:40]!r} is not a time: write 2026-01-31T09:00, or 2h for two hours ago"
        ) from exc


def _parse_past_time(text: str) -> datetime:
    """Parse a time as `_parse_time`, and refuse one in the future."""
    at = _parse_time(text)
    if at > utc_now():
        raise typer.BadParameter(f"{text[:40]!r} is yet to come: give a time that is over")
    return at


def time_option(help_text: str, *, past: bool = False) -> Any:
    """Make an option that takes a time, or a length before now; with `past` none that is yet to come."""
    return typer.Option(parser=_parse_past_time if past else _parse_time, metavar="T", help=help_text)


def _parse_time_ahead(text: str) -> datetime:
    """Parse an ISO time, UTC where no zone is named, or a length from now such as 3h."""
    with contextlib.suppress(ValueError, OverflowError):
        return utc_now() + query_params.parse_length(text)
    try:
        at = datetime.fromisoformat(text.strip())
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as exc:
        message = f"{text[:40]!r} is not a time: write 2026-01-31T09:00, or 3h for in three hours"
        raise typer.BadParameter(message) from exc


def time_ahead_option(help_text: str) -> Any:
    """Make an option that takes a time, or a length from now."""
    return typer.Option(parser=_parse_time_ahead, metavar="T", help=help_text)


OlderOption = Annotated[
    timedelta | None,
    typer.Option(
        "--older-than",
        parser=option_parser(query_params.parse_length),
        metavar="LENGTH",
        help="Only orders at least this old: 90s, 15m, 1h, 2d.",
    ),
]


def one_of(words: Sequence[str]) -> Callable[[str], str]:
    """Make a parser of an option that is one of these words."""

    def parse_word(text: str) -> str:
        if text not in words:
            raise ValueError(f"{text[:40]!r} is not known; use one of: {', '.join(words)}")
        return text

    return option_parser(parse_word)


ViewOption = Annotated[
    str, typer.Option("--view", parser=one_of(VIEWS), metavar="VIEW", help=f"A view of the page: {', '.join(VIEWS)}.")
]
NotStateOption = Annotated[
    list[str] | None,
    typer.Option("--not-state", parser=storable, metavar="STATE", help="No orders in this state; can be repeated."),
]
ReasonOption = Annotated[
    list[str] | None,
    typer.Option(
        "--reason",
        parser=one_of(REASONS),
        metavar="CODE",
        help="Only orders that need a decision for this reason, such as 'cancelled'; can be repeated.",
    ),
]


def file_format(path: Path, allowed: Sequence[str], chosen: str | None = None) -> str:
    """Read the file format off the end of the file's name; one of those allowed, for stdout the one chosen, or csv."""
    suffix = path.suffix.lower().removeprefix(".")
    if chosen is not None or path == STREAM:
        suffix = one_of(allowed)((chosen or "csv").lower())
    if path != STREAM and path.suffix.lower() != f".{suffix}":
        suffix = ""
    if suffix not in allowed:
        raise typer.BadParameter(
            f"{path.name}: the file name must end in {' or '.join(f'.{each}' for each in allowed)}"
        )
    return suffix


@contextlib.contextmanager
def file_to_write(file: Path) -> Iterator[IO[bytes]]:
    """Open a file that gets its name, or goes to stdout, only once the block has ended well.

    Ends the command with 1 where it cannot be written.
    """
    try:
        if file != STREAM:
            with files.replacing(file) as handle:
                yield handle
            return
        with tempfile.TemporaryFile() as handle:
            yield handle
            handle.seek(0)
            shutil.copyfileobj(handle, sys.stdout.buffer)
            sys.stdout.flush()
    except BrokenPipeError:  # whoever read it has enough
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - else it fails again as the process ends
        raise typer.Exit(1) from None
    except OSError as exc:
        output.print_stderr(f"{file} cannot be written ({exc.strerror})")
        raise typer.Exit(1) from exc


@contextlib.contextmanager
def file_to_read(file: Path) -> Iterator[Path]:
    """Give the path of a file, for stdin that of a copy which lasts as long as the block."""
    if file != STREAM:
        yield file
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "stdin"
        with copy.open("wb") as handle:
            shutil.copyfileobj(sys.stdin.buffer, handle)
        yield copy


def place_of(file: Path) -> str:
    """Where a file was written to, for people."""
    return "stdout" if file == STREAM else str(file)


def print_written(file: Path, record: Any, *lines: str, as_json: bool) -> None:
    """Print what was written; on stderr where the file itself went to stdout."""
    if file == STREAM:
        output.print_stderr(*lines)
    else:
        output.print_answer(record, *lines, as_json=as_json)


def acting_person(name: str | None = None) -> Person:
    """Make the person who acts: who runs this command, or whom they name. An operator: they can write the store anyway.

    Raises NotPermitted where the system knows neither a name nor a number.
    """
    if name and name.strip():
        return Person(name.strip())
    try:
        return Person(f"cli:{getpass.getuser()}")
    except (OSError, KeyError, ImportError):  # an account without an entry, as containers have them
        if hasattr(os, "getuid"):
            return Person(f"cli:uid {os.getuid()}")
    raise NotPermitted("the system does not tell who runs this; give a name with --actor")


def say_replaced(file: Path) -> None:
    """Say on stderr that an export takes the place of a file that is there."""
    if file != STREAM and file.exists():
        typer.echo(f"{file} was there already and is replaced", err=True)
