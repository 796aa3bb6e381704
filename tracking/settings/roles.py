"""Roles of a process: pages, webhooks, poller, sender."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator
from pydantic_settings import NoDecode


class Role(StrEnum):
    """What a process can do."""

    PAGES = "pages"
    WEBHOOKS = "webhooks"
    POLLER = "poller"
    SENDER = "sender"


def read_roles(value: Any) -> Any:
    """Split names of roles at their commas. Raises ValueError for one that there is not."""
    if not isinstance(value, str):
        return value
    names = [name.strip().lower() for name in value.split(",") if name.strip()]
    valid = [role.value for role in Role]
    if wrong := [name for name in names if name not in valid]:
        raise ValueError(f"does not know {', '.join(wrong)}; use some of {', '.join(valid)}")
    if not names:
        raise ValueError(f"names no role; use some of {', '.join(valid)}")
    return names


Roles = Annotated[frozenset[Role], NoDecode, BeforeValidator(read_roles)]
