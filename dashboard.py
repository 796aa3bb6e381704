"""Launcher of the console: the pages, and beside them the receiver, the poller and the sender, in one process.

This is the launcher, not the page script. With a script beside the folder `pages/`, Streamlit's old page discovery
would list every file there as a page of its own and run modules twice; with the script inside `pages/` none of that
happens, and `streamlit run dashboard.py` and `uvicorn dashboard:app` start the same thing.
"""

import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import streamlit as st
from starlette.middleware import Middleware
from streamlit.errors import StreamlitSecretNotFoundError

from tracking.startup import garbage_collection_paused, spare_once_started

with garbage_collection_paused():
    from tracking import files
    from tracking.app.backend import Backend
    from tracking.app.folders import folder_of
    from tracking.app.telemetry import logs
    from tracking.app.web import page_access
    from tracking.app.web.address_check import AddressCheckMiddleware, callback_bases, page_paths
    from tracking.app.web.page_middleware import PrivateDownloadsMiddleware, SecurityHeadersMiddleware
    from tracking.app.web.sign_in_landing import SignInLandingMiddleware
    from tracking.errors import Problem, SettingsError, TrackingError
    from tracking.settings.loading import process_settings
    from tracking.webhooks.routing import WebhookRouter

HERE = Path(__file__).resolve().parent


def bind_address() -> str | None:
    """The address `streamlit run` binds to, all interfaces where none is set; None under another server."""
    if Path(sys.argv[0]).resolve() != Path(__file__).resolve():  # Streamlit sets it to the script that it runs
        return None
    address: str | None = st.get_option("server.address")
    return address or "0.0.0.0"  # noqa: S104 - named in order to be refused  # nosec B104


def sign_in_provider() -> dict[str, Any]:
    """Reads the section [auth] of Streamlit's secrets, empty where there is none.

    Raises SettingsError where there are secrets that cannot be read: nobody would be asked to sign in.
    """
    try:
        return dict(st.secrets.get("auth") or {})
    except (StreamlitSecretNotFoundError, OSError, TypeError, ValueError) as exc:
        if isinstance(exc, StreamlitSecretNotFoundError) and exc.__cause__ is None:
            return {}
        message = "cannot be read: it must be TOML in UTF-8 without a byte order mark, with a section [auth]"
        raise SettingsError([Problem(".streamlit/secrets.toml", message)]) from None  # the cause repeats a line


def start_backend() -> Backend:
    """Starts the backend, or ends the process with a clear message (2: settings, 1: anything else)."""
    folder = folder_of(Path(__file__).resolve())
    try:
        files.make_folder(folder)
        os.chdir(folder)  # `.env` and `data/` belong there, from wherever it is started
        settings = process_settings()
        logs.configure(settings.log_level, settings.log_format)
        headers = st.get_option("server.trustedUserHeaders") or {}
        page_access.check_page_access(
            settings, address=bind_address(), provider=sign_in_provider(), trusted_headers=headers
        )
        return Backend(settings)
    except SettingsError as exc:
        for problem in exc.problems:
            print(f"settings: {problem}", file=sys.stderr)  # noqa: T201 - there is no log yet, and a person waits
        sys.exit(2)
    except TrackingError as exc:
        print(f"cannot start: {exc}", file=sys.stderr)  # noqa: T201 - as above
        sys.exit(1)


@contextlib.asynccontextmanager
async def lifespan(application: Any) -> AsyncIterator[None]:
    """Runs the backend, beside which the garbage collector holds up neither webhooks nor pages for long."""
    async with backend.lifespan(application):
        spare_once_started()
        yield


# Streamlit adds it for each run of a page and takes it away at the end of one, while others still import.
sys.path.insert(0, str(HERE / "pages"))
backend = start_backend()
base_path = st.get_option("server.baseUrlPath") or ""
routes = backend.routes(base_path)
# Written out like this, because `streamlit run` looks for these very words to tell a launcher from a page script.
app = st.App(
    str(HERE / "pages" / "main.py"),
    routes=routes,
    lifespan=lifespan,
    middleware=[
        Middleware(
            SecurityHeadersMiddleware, html=(Path(st.__file__).parent / "static" / "index.html").read_text("utf-8")
        ),
        # What comes after it is for pages, and would take as long over a webhook as the receiver.
        Middleware(WebhookRouter, receiver=backend.receiver, bases=callback_bases(backend.settings, base_path)),
        Middleware(
            page_access.PageAccessMiddleware,
            settings=backend.settings,
            provider=sign_in_provider(),
            hosts=st.get_option("server.allowedHosts"),
            routes=routes,
        ),
        Middleware(
            AddressCheckMiddleware,
            routes=routes,
            base_path=base_path,
            pages=page_paths(HERE / "pages" / "navigation.py"),
        ),
        Middleware(PrivateDownloadsMiddleware),
        Middleware(SignInLandingMiddleware),
    ],
)
