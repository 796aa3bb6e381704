"""Session: who is at the screen, what they may do, and the settings and the store that the pages work with.

The person is checked on every run and for everything that is read, not only at the sign-in.
"""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import streamlit as st

from tracking.access import Access, AllowList, Person
from tracking.app import drafts
from tracking.app.environment import Environment, environment_of
from tracking.app.preferences import Preferences, load_preferences
from tracking.app.preferences import save_preferences as store_preferences
from tracking.app.web.page_middleware import BROWSER_COOKIE
from tracking.app.web.sign_in_landing import LANDINGS
from tracking.orders.observations import utc_now
from tracking.settings.loading import files_of_lists, load, process_settings
from tracking.settings.values import ENV_FILE, Settings
from tracking.storage.claims import ClaimCipher
from tracking.storage.database import Database, connect


def settings() -> Settings:
    """The settings of this process."""
    return process_settings()


def database() -> Database:
    """The store of this process. Raises NotAdmitted for whoever may not look."""
    return connect(database_url())


def unchecked_database() -> Database:
    """The same for whoever is turned away, to record just that; nothing of it may be shown."""
    return connect(settings().database_url)


def database_url() -> str:
    """The address of the store. Raises NotAdmitted for whoever may not look."""
    current_person()
    return settings().database_url


def current_person() -> Person | None:
    """Whoever is signed in; None while nobody has to.

    Raises:
        NotAdmitted: they may not even look, or not any more.
    """
    if not settings().asks_to_sign_in:
        return None
    return allow_list().admit(identity(), utc_now())


def identity() -> dict[str, Any]:
    """What the provider says of whoever has signed in; empty when nobody has."""
    claims: dict[str, Any] = st.user.to_dict()
    return claims if claims.get("is_logged_in") is True else {}


def note_landing(address: str) -> None:
    """Notes that this browser is to come to this address once it has signed in."""
    LANDINGS.note(st.context.cookies.get(BROWSER_COOKIE) or "", address)


def draft_owner() -> str | None:
    """Whose draft it is: of whoever is signed in, else of the browser; None where that has no cookie."""
    if person := current_person():
        return drafts.owner_of("person", person.name)
    cookie = st.context.cookies.get(BROWSER_COOKIE)
    return drafts.owner_of("browser", cookie) if cookie else None


def environment() -> Environment:
    """Which provider this console works with."""
    return environment_of(settings())


def preferences() -> Preferences:
    """What whoever is at the screen chose; read once in a session."""
    chosen: Preferences | None = st.session_state.get("preferences")
    if chosen is None:
        owner = _preferences_owner()
        chosen = load_preferences(database(), owner, utc_now()) if owner else Preferences()
        st.session_state["preferences"] = chosen
    return chosen


def save_preferences(chosen: Preferences) -> None:
    """Remember what whoever is at the screen chose."""
    st.session_state["preferences"] = chosen
    if owner := _preferences_owner():
        store_preferences(database(), owner, chosen, utc_now())


def _preferences_owner() -> str | None:
    if person := current_person():
        return drafts.owner_of("preferences of person", person.name)
    cookie = st.context.cookies.get(BROWSER_COOKIE)
    return drafts.owner_of("preferences of browser", cookie) if cookie else None


def allow_list() -> AllowList:
    """Who may come in, as environment and files say now: a change of a file counts from the next run on."""
    state = _state(Path(ENV_FILE))
    return _allow_list((state, *map(_state, _files_of_lists(state))))


_FileState = tuple[int, int, int] | None


def _state(file: Path) -> _FileState:
    status = file.stat() if file.exists() else None
    return (status.st_mtime_ns, status.st_size, status.st_ino) if status else None


@st.cache_resource(max_entries=1, show_spinner=False)
def _files_of_lists(state_of_env_file: _FileState) -> list[Path]:  # noqa: ARG001 - what it is kept under
    return files_of_lists()


@st.cache_resource(max_entries=1, show_spinner=False)
def _allow_list(states_of_files: tuple[_FileState, ...]) -> AllowList:  # noqa: ARG001 - what it is kept under
    loaded = load()
    return AllowList(
        loaded.operators or frozenset(),
        loaded.viewers or frozenset(),
        timedelta(hours=loaded.sign_in_hours),
        loaded.trust_unverified_email == "yes",
    )


def only_while_admitted(make: Callable[[Person | None], bytes]) -> Callable[[], bytes]:
    """The same for a download: it is made outside of the script, later, and so asks once more by itself.

    `make` gets whoever is admitted at the click, with what they may do by then; None while nobody has to sign in.
    """
    if not settings().asks_to_sign_in:
        return partial(make, None)
    claims = identity()
    return lambda: make(allow_list().admit(claims, utc_now()))


def may_not_act() -> str | None:
    """Why whoever is signed in may only look; None for all others. The backend asks for itself."""
    person = current_person()
    if person is None or person.access is Access.OPERATOR:
        return None
    return "You are signed in as a viewer; only an operator may do this."


@st.cache_resource(show_spinner=False)
def claim_cipher() -> ClaimCipher:
    """What opens the claim data that this installation keeps."""
    return ClaimCipher(settings().claims_keys())
