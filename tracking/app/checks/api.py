"""Check of the API: whether other systems may ask it, and assistants by their protocol."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from tracking.api.edge import INSTALL_MCP
from tracking.app.checks.results import CheckResult, Outcome
from tracking.settings.values import Settings

NAME = "API"


def check_api(_: Settings, __: Path) -> Iterator[CheckResult]:
    """Check whether the package is there that assistants are answered by."""
    if find_spec("mcp") is None:
        text = "/api/v1 answers whoever has a token; assistants get 404 at /mcp, as the package mcp is not installed"
        yield CheckResult(NAME, Outcome.OK, text, f"where assistants are to ask: {INSTALL_MCP}")
    else:
        yield CheckResult(NAME, Outcome.OK, "/api/v1 and, for assistants, /mcp answer whoever has a token")
