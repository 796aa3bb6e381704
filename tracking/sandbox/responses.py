"""Builds HTTP responses: bodies in the style the switches ask for, errors, corrupted answers, broken connections.

Owns every response object, the case of names and the form of timestamps; decides neither contents nor when one is due.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from http import HTTPStatus
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tracking.sandbox.faults import BadAnswer, Switches, Timestamps

_JSON = "application/json"
_PAGE = b"<!doctype html><html><body><h1>An error occurred</h1><p>Made up by the sandbox.</p></body></html>"
_SPOILED: Mapping[BadAnswer, bytes] = {
    "null": b"null",
    "object": b"{}",
    "list": b"[]",
    "nan": b'{"Id": NaN, "Status": NaN}',
}


def answer(body: Any, switches: Switches, status: int = 200) -> Response:
    """A JSON answer in the provider's present style."""
    return Response(
        json.dumps(dress(body, switches), separators=(",", ":")).encode(), status_code=status, media_type=_JSON
    )


def failure(status: int, switches: Switches, headers: Mapping[str, str] | None = None) -> Response:
    """An error without a documented body: empty, JSON or HTML."""
    if switches.error_body == "json":
        body = {"Message": HTTPStatus(status).phrase, "Code": status}
        return Response(json.dumps(body), status_code=status, headers=headers, media_type=_JSON)
    if switches.error_body == "html":
        return Response(_PAGE, status_code=status, headers=headers, media_type="text/html")
    return Response(status_code=status, headers=headers)


def spoiled(response: Response, how: BadAnswer) -> Response:
    """A good answer turned into one that cannot be used, with the same status."""
    body = bytes(response.body)
    if how == "html":
        return Response(_PAGE, status_code=response.status_code, media_type="text/html")
    if how == "cut":
        body = body[: len(body) // 2]
    elif how == "wrong-id":
        body = body.replace(b'"BLK-', b'"BLK-9')
    elif how == "huge":
        body = b"[" + b" " * 50_000_000 + b"]"
    else:
        body = _SPOILED.get(how, body)
    return Response(body, status_code=response.status_code, media_type=_JSON)


def dress(body: Any, switches: Switches) -> Any:
    """The body as this provider writes it. Untouched where no switch asks for anything."""
    plain = switches.name_case == "pascal" and not switches.numbers_as_strings and not switches.extra_fields
    return body if plain else _dressed(body, switches)


def _dressed(value: Any, switches: Switches) -> Any:
    if isinstance(value, dict):
        items = {**value, "SchemaRevision": 7, "Hints": {"Unheard": True}} if _is_record(value, switches) else value
        name = camel if switches.name_case == "camel" else str
        return {name(key): _dressed(item, switches) for key, item in items.items()}
    if isinstance(value, list):
        return [_dressed(item, switches) for item in value]
    if switches.numbers_as_strings and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value


def _is_record(value: Mapping[str, Any], switches: Switches) -> bool:
    return switches.extra_fields and bool(value.keys() & {"Id", "Data", "Available", "ExpiresIn"})


@lru_cache(maxsize=1024)
def camel(name: str) -> str:
    """PONumber becomes poNumber, Id becomes id."""
    return re.sub(r"^([A-Z]+(?=[A-Z][a-z])|[A-Z])", lambda found: found[0].lower(), name)


def us_timestamp(at: float) -> str:
    """Seconds since the epoch in the US form of the webhook, in UTC."""
    return f"{datetime.fromtimestamp(at, UTC):%m/%d/%Y %I:%M:%S %p}"


_FORMS: Mapping[Timestamps, Callable[[float], str]] = {
    "bare": lambda at: f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%S}",
    "zulu": lambda at: f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}",
    "offset": lambda at: datetime.fromtimestamp(int(at), timezone(timedelta(hours=-5))).isoformat(),
    "fraction": lambda at: f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%S.%f}0Z",
    "us": us_timestamp,
}


def timestamp(at: float, switches: Switches) -> str:
    """Seconds since the epoch as this provider writes them."""
    return _FORMS[switches.timestamps](at)


class Disconnect(Response):
    """No answer: the connection ends before a whole one was sent.

    A real server (it states its spec_version) is left with less than was announced and closes the connection, so the
    client sees a protocol error. In process there is no connection, so ConnectionResetError leaves the application.
    """

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Announce more than is sent, or raise."""
        if "spec_version" not in scope["asgi"]:
            raise ConnectionResetError("the sandbox broke the connection off")
        headers = [(b"content-type", _JSON.encode()), (b"content-length", b"4096")]
        await send({"type": "http.response.start", "status": 201, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"Id":', "more_body": True})
