"""Answers as bytes: dressed as the switches ask, failing as they ask, spoiled as they ask.

Owns every response object; decides nothing about when one is due.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tracking.sandbox.names import dress
from tracking.sandbox.switches import BadAnswer, Switches

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
