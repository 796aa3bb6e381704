"""Bearer token: renewed once for all callers, before it expires or after it was refused."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from tracking.errors import (
    AccessDisabled,
    CredentialsRefused,
    NotSent,
    NotTheProvider,
    ProviderError,
    RequestRejected,
    Throttled,
)
from tracking.provider.responses import Token


@dataclass(eq=False)
class TokenRenewal:
    """Sees to the token of all calls. `fetch` asks for one, given the time of asking, from which its life counts."""

    fetch: Callable[[datetime], Awaitable[Token]]
    clock: Callable[[], datetime]
    monotonic: Callable[[], float]
    token: Token | None = None
    renew_at: float = 0.0
    _renewal: asyncio.Task[None] | None = None

    async def ensure(self, refused: Token | None = None) -> None:
        """Renews a token that is missing, old or the one refused. Many callers cause one renewal and share its end.

        Raises:
            CredentialsRefused, AccessDisabled, Throttled, NotSent: there is no token.
        """
        fresh = self.token is not None and self.monotonic() < self.renew_at
        if not fresh or refused is self.token:
            if self._renewal is None:
                self._renewal = asyncio.create_task(self._renew())
                self._renewal.add_done_callback(self._renewal_done)
            await asyncio.shield(self._renewal)

    async def aclose(self) -> None:
        """Ends a renewal that is under way."""
        if self._renewal is not None:
            self._renewal.cancel()
            with contextlib.suppress(asyncio.CancelledError, ProviderError):
                await self._renewal

    def _renewal_done(self, task: asyncio.Task[None]) -> None:
        self._renewal = None
        if not task.cancelled():
            task.exception()  # Somebody has looked, even where every caller was cancelled.

    async def _renew(self) -> None:
        asked_at = self.clock()
        try:
            token = await self.fetch(asked_at)
        except (CredentialsRefused, AccessDisabled, NotSent):
            raise
        except Throttled as exc:
            # Whatever waits for the token has not left, which is what 429 says.
            raise Throttled("no token for now", status=429, retry_after=exc.retry_after) from exc
        except RequestRejected as exc:
            raise CredentialsRefused("no token for these credentials", status=exc.status) from exc
        except NotTheProvider as exc:
            raise NotSent(f"no token: {exc}; the address may be wrong", status=exc.status) from exc
        except ProviderError as exc:
            raise NotSent(f"no token: {exc}", status=exc.status) from exc
        life = (token.expires_at - asked_at).total_seconds()
        self.token = token
        self.renew_at = self.monotonic() + life - min(60.0, life / 10)
