"""Origin check for assistants: refuses browsers on pages of other sites (DNS rebinding included).

A page of another site can have its name lead to this machine, and so be answered by it; but it cannot send another
Origin, nor another Host, than its own name.
"""

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from tracking.api.problems import Refusal


def check_origin(headers: Headers, names: Collection[str]) -> None:
    """Let through who asks by an IP address, as localhost, or by one of these names, from no other site.

    Raises Refusal.
    """
    host = _host(f"//{headers.get('host', '')}")
    if not _is_ours(host, names):
        raise Refusal("foreign", "It is not served under the name in the header Host.")
    origin = headers.get("origin")
    if origin is not None and not (_host(origin) == host or _is_ours(_host(origin), names)):
        raise Refusal("foreign", "The header Origin names another site.")


def _host(url: str) -> str:
    """The host's name in a URL, empty where there is none or none that can be parsed: nobody goes by that."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _is_ours(host: str, names: Collection[str]) -> bool:
    if host == "localhost" or host in names:
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
