"""The log of a process: one format for console, worker and command line, as text or as a JSON object on each line.

Every logger ends in one handler, those of the servers and of Streamlit included. A line names its process and, where
one is dealt with, its order. Values of variables are in no trace of an exception: they may be secrets.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, TextIO

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, Processor, WrappedLogger

from tracking.settings.addresses import WEBHOOK_PATH

Format = Literal["text", "json"]
Level = Literal["debug", "info", "warning", "error"]
# They bring handlers and formats of their own.
_SERVERS = ("uvicorn", "streamlit", "websockets")
# A line for each request of a stranger would fill the disk: the servers are configured to write none.
_REQUESTS = "uvicorn.access"
# Their lines hold whole addresses, and ours may hold an order's secret; or they tell of every packet.
_QUIET = ("httpx", "httpcore", "asyncio", "urllib3", "PIL", "matplotlib", "alembic")
_ESCAPES = {code: repr(chr(code))[1:-1] for code in (*range(32), *range(127, 160), 0x2028, 0x2029)}


def configure(level: Level, form: Format, *, stream: TextIO | None = None) -> None:
    """Send all that is logged from `level` on to `stream` (stderr), in place of what was configured before."""
    root = logging.getLogger()
    for handler in [each for each in root.handlers if isinstance(each.formatter, ProcessorFormatter)]:
        root.removeHandler(handler)
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(ProcessorFormatter(foreign_pre_chain=_COMMON, processors=[*_rendering(form)]))
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    adopt_servers()


def adopt_servers() -> None:
    """Make the loggers of the HTTP servers, and Streamlit's that exist by now, write like all others.

    Nothing where the log is not configured, as in tests.
    """
    if not any(isinstance(each.formatter, ProcessorFormatter) for each in logging.getLogger().handlers):
        return
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and name.partition(".")[0] in _SERVERS and name != _REQUESTS:
            logger.handlers.clear()
            logger.propagate = True


def hide_addresses() -> None:
    """Keep webhook addresses and what was searched for out of the lines about requests, from now on."""
    for name in (_REQUESTS, "httpx"):
        logging.getLogger(name).addFilter(_hide_tokens)


@contextmanager
def about(**what: str | None) -> Iterator[None]:
    """Bind what is dealt with, such as its `order`, to each line that is logged in the block."""
    with structlog.contextvars.bound_contextvars(**{name: value for name, value in what.items() if value}):
        yield


def _hide_tokens(record: logging.LogRecord) -> bool:
    """Hide webhook addresses, which are secrets, in the server's log of requests and in the sandbox's calls.

    And what was asked for behind an address: a search for a person names them.
    """
    if isinstance(record.args, tuple):
        parts = ((part, *str(part).partition("/webhooks/")) for part in record.args)
        args = (f"{before}{WEBHOOK_PATH}..." if path else part for part, before, path, _ in parts)
        record.args = tuple(_without_query(arg) for arg in args)
    return True


def _without_query(arg: object) -> object:
    path, mark, _ = arg.partition("?") if isinstance(arg, str) and arg.startswith("/") else ("", "", "")
    return f"{path}?..." if mark else arg


def _add_process(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    record: logging.LogRecord = event["_record"]
    event["process"] = record.process
    return event


def _escape_controls(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Keep what somebody else wrote from ending a line and beginning one of its own, or from steering a terminal."""
    event["event"] = str(event["event"]).translate(_ESCAPES)
    return event


def _rendering(form: Format) -> Iterator[Any]:
    yield ProcessorFormatter.remove_processors_meta
    if form == "json":
        yield structlog.processors.format_exc_info
        yield structlog.processors.EventRenamer("message")
        yield structlog.processors.JSONRenderer(ensure_ascii=False)
    else:
        yield _escape_controls
        yield structlog.dev.ConsoleRenderer(
            colors=False, pad_event_to=0, exception_formatter=structlog.dev.plain_traceback, sort_keys=False
        )


_COMMON: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    _add_process,
]
