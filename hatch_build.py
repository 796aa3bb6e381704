"""Build of the wheel: the console's files, which stay at the top of a checkout, go into the package as data."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

CONSOLE = "tracking/_console"
FILES = (
    *("dashboard.py", "pages", ".streamlit/config.toml"),
    *(f"data/sample-{name}.csv" for name in ("bulk", "digital", "links", "physical")),
)


class ConsoleHook(BuildHookInterface[Any]):
    """Adds the files to a wheel; an editable install has those of the checkout."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the files before anything is built."""
        if version == "standard":
            build_data["force_include"] |= {file: f"{CONSOLE}/{file}" for file in FILES}
