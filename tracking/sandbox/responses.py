"""Builds HTTP responses as the faults ask: JSON style, errors, corrupted bodies, broken connections.

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

from tracking.sandbox.faults import BadResponse, Faults, Intermediary, TimestampFormat

_JSON = "application/json"
_ERROR_PAGE = b"<!doctype html><html><body><h1>An error occurred</h1><p>Made up by the sandbox.</p></body></html>"
_BAD_BODIES: Mapping[BadResponse, bytes] = {
    "null": b"null",
    "object": b"{}",
    "list": b"[]",
    "nan": b'{"Id": NaN, "Status": NaN}',
}

_ODD_VALUES: Mapping[str, Any] = {
    "Note": [],
    "Cost": {"Amount": "unknown"},
    "Personalization": "none",
    "WebhookSettings": [True],
    "CurrencyCode": {"Code": "USD"},
    "Terms": 5,
    "Page": "first",
    "PageSize": {},
    "TotalCount": [],
    "Pending": {"Amount": 0},
    "ExpiresIn": {"Minutes": 60},
}


_INTERMEDIARIES: Mapping[Intermediary, tuple[int, Mapping[str, str], bytes]] = {
    "redirect": (
        302,
        {
            "Location": "https://status.example.com/maintenance",
            "Server": "example-proxy/1.0",
            "Content-Type": "text/html",
        },
        b"<html><body>Moved</body></html>",
    ),
    "firewall": (
        403,
        {"Server": "example-waf", "Via": "1.1 edge.example.com", "Content-Type": "text/html"},
        b"<html><h1>Request blocked</h1>By a rule of the firewall. Support ID: 4711</html>",
    ),
    "portal": (
        200,
        {"Server": "example-hotspot", "Content-Type": "text/html; charset=iso-8859-1"},
        b"<html><form action='/login'>Sign in to use this network, caf\xe9 guest</form></html>",
    ),
    "maintenance": (
        503,
        {"Server": "example-proxy/1.0", "Retry-After": "7200", "Content-Type": "text/html"},
        b"<html>Down for maintenance, back soon</html>",
    ),
    "gateway": (
        400,
        {"Server": "example-gateway", "Content-Type": "application/json"},
        b'{"success": false, "errors": [{"code": 1020, "message": "denied by a rule"}], "data": null}',
    ),
}


def intermediary_response(kind: Intermediary) -> Response:
    """Build what something between client and provider answers in its place."""
    status, headers, body = _INTERMEDIARIES[kind]
    return Response(body, status_code=status, headers=dict(headers))


def json_response(body: Any, faults: Faults, status: int = 200) -> Response:
    """Build a JSON response in the style the faults ask for."""
    return Response(
        json.dumps(format_body(body, faults), separators=(",", ":")).encode(), status_code=status, media_type=_JSON
    )


def error_response(status: int, faults: Faults, headers: Mapping[str, str] | None = None) -> Response:
    """Build an error without a documented body: empty, JSON or HTML."""
    if faults.error_body == "json":
        body = {"Message": HTTPStatus(status).phrase, "Code": status}
        return Response(json.dumps(body), status_code=status, headers=headers, media_type=_JSON)
    if faults.error_body == "html":
        return Response(_ERROR_PAGE, status_code=status, headers=headers, media_type="text/html")
    return Response(status_code=status, headers=headers)


def corrupt_response(response: Response, how: BadResponse) -> Response:
    """Corrupt a good response into one that cannot be used, with the same status."""
    body = bytes(response.body)
    if how == "html":
        return Response(_ERROR_PAGE, status_code=response.status_code, media_type="text/html")
    if how == "cut":
        body = body[: len(body) // 2]
    elif how == "wrong-id":
        body = body.replace(b'"BLK-', b'"BLK-9')
    elif how == "huge":
        body = b"[" + b" " * 50_000_000 + b"]"
    else:
        body = _BAD_BODIES.get(how, body)
    return Response(body, status_code=response.status_code, media_type=_JSON)


def format_body(body: Any, faults: Faults) -> Any:
    """Format a body: case of names, numbers as strings, extra fields. Untouched where no fault asks for any."""
    unchanged = faults.name_case == "pascal" and not faults.numbers_as_strings and not faults.extra_fields
    body = _with_odd_fields(body) if faults.odd_fields else body
    return body if unchanged else _format_value(body, faults)


def _with_odd_fields(value: Any) -> Any:
    """Every field that a client does not need with a wrong type."""
    if isinstance(value, list):
        return [_with_odd_fields(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {name: _ODD_VALUES.get(name, _with_odd_fields(item)) for name, item in value.items()} | (
        {"CurrencyCode": {"Code": "USD"}} if "LineItems" in value else {}
    )


def _format_value(value: Any, faults: Faults) -> Any:
    if isinstance(value, dict):
        items = {**value, "SchemaRevision": 7, "Hints": {"Unheard": True}} if _is_record(value, faults) else value
        name = camel_case if faults.name_case == "camel" else str
        return {name(key): _format_value(item, faults) for key, item in items.items()}
    if isinstance(value, list):
        return [_format_value(item, faults) for item in value]
    if faults.numbers_as_strings and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value


def _is_record(value: Mapping[str, Any], faults: Faults) -> bool:
    return faults.extra_fields and bool(value.keys() & {"Id", "Data", "Available", "ExpiresIn"})


@lru_cache(maxsize=1024)
def camel_case(name: str) -> str:
    """Convert PascalCase to camelCase: PONumber becomes poNumber, Id becomes id."""
    return re.sub(r"^([A-Z]+(?=[A-Z][a-z])|[A-Z])", lambda match: match[0].lower(), name)


def format_us_timestamp(at: float) -> str:
    """Format seconds since the epoch in the US form of the webhook, in UTC."""
    return f"{datetime.fromtimestamp(at, UTC):%m/%d/%Y %I:%M:%S %p}"


_TIMESTAMP_FORMATS: Mapping[TimestampFormat, Callable[[float], str]] = {
    "bare": lambda at: f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%S}",
    "zulu": lambda at: f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}",
    "offset": lambda at: datetime.fromtimestamp(int(at), timezone(timedelta(hours=-5))).isoformat(),
    "fraction": lambda at: f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%S.%f}0Z",
    "us": format_us_timestamp,
}


def format_timestamp(at: float, faults: Faults) -> str:
    """Format seconds since the epoch in the form the faults ask for."""
    return _TIMESTAMP_FORMATS[faults.timestamps](at)


class BrokenConnection(Response):
    """Breaks the connection before a whole response was sent.

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
