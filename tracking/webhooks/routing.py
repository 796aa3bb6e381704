"""Routing of webhook calls: straight to the receiver, past the router and the middlewares of the application.

None of those would change anything of such a call, and together they take as long as the receiver itself; those of the
pages take longer.
"""

from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send


class WebhookRouter:
    """ASGI application or middleware: calls the receiver for `BASE/{token}`, by any method, else the `application`.

    `bases` are the paths of webhook addresses, without the token and the slash before it. The application's own routes
    lead there too; this is the quicker way.
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
