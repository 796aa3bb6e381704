"""Entrance: hands a call of an order's address to the receiver, past the application's router and middlewares.

They would let it through as it is, and take as long over it as its body and its proof together; those of the pages
take longer.
"""

from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send


class Entrance:
    """ASGI application or middleware: the receiver at `BASE/{token}`, by any method, the `application` elsewhere.

    `bases` are the paths of the addresses without the token and the slash before it. What the application's routes say
    of such a path is the same.
    """

    def __init__(self, application: ASGIApp, receiver: ASGIApp, bases: Iterable[str]) -> None:
        self._application, self._receiver, self._bases = application, receiver, frozenset(bases)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            base, _, token = scope["path"].rpartition("/")
            if base in self._bases:
                await self._receiver({**scope, "path_params": {"token": token}}, receive, send)
                return
        await self._application(scope, receive, send)
