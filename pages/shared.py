"""What the pages share: cached reads, formats, links, the error box. The only user of st.cache_*."""

import contextlib
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from tracking import settings as configuration
from tracking.access import Access, AllowList, Person
from tracking.errors import (
    ClaimsUnavailable,
    InvalidSubmission,
    NotAdmitted,
    NotAllowed,
    NotComputed,
    NotPermitted,
    Problem,
    SettingsError,
    StoreBusy,
    StoreUnusable,
    TrackingError,
    UnknownOrder,
)
from tracking.forecasting import predictions
from tracking.forecasting.incidents import Incident
from tracking.orders import wording
from tracking.orders.model import State
from tracking.polling.backtest import process as errands
from tracking.reports import activity, latency, trends
from tracking.reports import health as health_reports
from tracking.reports import overview as reports
from tracking.storage.claims import ClaimCipher
from tracking.storage.database import Database, connect
from tracking.submissions.catalog import Catalogue, load_catalogue

FRESH = 2
SOON = 10
SLOWLY = 30
REPLAYED = 1800

LOOKS: dict[str, tuple[str, str]] = {
    State.QUEUED: (":material/hourglass_empty:", "gray"),
    State.SENDING: (":material/send:", "gray"),
    State.UNKNOWN: (":material/help:", "red"),
    State.REFUSED: (":material/block:", "red"),
    State.ACCEPTED: (":material/task_alt:", "blue"),
    State.PENDING: (":material/schedule:", "blue"),
    State.PROCESSING: (":material/sync:", "blue"),
    State.AWAITING_APPROVAL: (":material/front_hand:", "orange"),
    State.COMPLETED: (":material/check_circle:", "green"),
    State.CANCELLED: (":material/cancel:", "violet"),
}
HEADERS = {
    "at": "Happened", "external_id": "External id", "kind": "What", "learned_at": "Learned",
    "po_number": "PONumber", "product_id": "Product", "provider_id": "Provider's id", "seq": "Number",
    "stated_at": "Stated by the caller", "text": "In words", "witness": "Learned from",
}  # fmt: skip
TIMES = frozenset({"at", "placed"})
UNKNOWN_WORD = (":material/question_mark:", "orange")


def now() -> datetime:
    """The time, aware and in UTC."""
    return datetime.now(UTC)


def settings() -> configuration.Settings:
    """The settings of this process."""
    return configuration.of_this_process()


def database() -> Database:
    """The store of this process. Raises NotAdmitted for whoever may not look."""
    return connect(_url())


def _url() -> str:
    guest()
    return settings().database_url


# Who is at the screen. Asked on every run and for everything that is read, not only when somebody signs in.


def guest() -> Person | None:
    """Whoever is signed in; None while nobody has to.

    Raises:
        NotAdmitted: they may not even look, or not any more.
    """
    if not settings().asks_to_sign_in:
        return None
    return allow_list().admit(identity(), now())


def identity() -> dict[str, Any]:
    """What the provider says of whoever has signed in; empty when nobody has."""
    said: dict[str, Any] = st.user.to_dict()
    return said if said.get("is_logged_in") is True else {}


def allow_list() -> AllowList:
    """Who may come in, as the environment and `.env` say now: a change of the file counts from the next run on."""
    file = Path(".env")
    found = file.stat() if file.exists() else None
    return _allow_list((found.st_mtime_ns, found.st_size, found.st_ino) if found else None)


@st.cache_resource(max_entries=1, show_spinner=False)
def _allow_list(state_of_file: tuple[int, int, int] | None) -> AllowList:  # noqa: ARG001 - what it is kept under
    loaded = configuration.load()
    return AllowList(
        loaded.operators or frozenset(),
        loaded.viewers or frozenset(),
        timedelta(hours=loaded.sign_in_hours),
        loaded.trust_unverified_email == "yes",
    )


def only_while_admitted(made: Callable[[], bytes]) -> Callable[[], bytes]:
    """The same for a download: it is made outside of the script, later, and so asks once more by itself."""
    if not settings().asks_to_sign_in:
        return made
    said = identity()

    def asked() -> bytes:
        allow_list().admit(said, now())
        return made()

    return asked


def may_not_act() -> str | None:
    """Why whoever is signed in may only look; None for all others. The backend asks for itself."""
    person = guest()
    if person is None or person.access is Access.OPERATOR:
        return None
    return "You are signed in as a viewer; only an operator may do this."


@st.cache_resource(show_spinner=False)
def vault() -> ClaimCipher:
    """What opens the claim data that this installation keeps."""
    return ClaimCipher(settings().claims_keys())


# Cached reads. The address of the store is an argument, so that no answer of one store is given for another.


def overview() -> reports.Overview:
    """The overview's figures, at most FRESH seconds old."""
    return _overview(_url())


@st.cache_data(ttl=FRESH, max_entries=4, show_spinner=False)
def _overview(url: str) -> reports.Overview:
    return reports.overview(connect(url), now())


def charts(span: str) -> tuple[pd.DataFrame, trends.Completions, latency.LatencyReport]:
    """The lifecycle, the times to completion and the ledger over the span, at most SLOWLY seconds old."""
    return _charts(_url(), span)


@st.cache_data(ttl=SLOWLY, max_entries=12, show_spinner=False)
def _charts(url: str, span: str) -> tuple[pd.DataFrame, trends.Completions, latency.LatencyReport]:
    store, moment = connect(url), now()
    took = trends.completions(store, moment, span)
    return trends.lifecycle(store, moment, span), took, trends.ledger(store, moment, span)


def foretold(span: str) -> list[predictions.Score]:
    """How what was said of open orders fared over the span, at most SLOWLY seconds old."""
    return _foretold(_url(), span)


@st.cache_data(ttl=SLOWLY, max_entries=12, show_spinner=False)
def _foretold(url: str, span: str) -> list[predictions.Score]:
    return trends.foretold(connect(url), now(), span)


def health() -> health_reports.Health:
    """What deserves a banner, at most FRESH seconds old."""
    return _health(_url())


@st.cache_data(ttl=FRESH, max_entries=4, show_spinner=False)
def _health(url: str) -> health_reports.Health:
    return health_reports.health(connect(url), now())


def incidents() -> list[Incident]:
    """Orders that are late together, at most SOON seconds old."""
    return _incidents(_url())


@st.cache_data(ttl=SOON, max_entries=4, show_spinner=False)
def _incidents(url: str) -> list[Incident]:
    return reports.incidents(connect(url), now())


def words() -> dict[str, list[str]]:
    """What there is to filter by, at most SLOWLY seconds old."""
    return _words(_url())


@st.cache_data(ttl=SLOWLY, max_entries=4, show_spinner=False)
def _words(url: str) -> dict[str, list[str]]:
    return activity.known_words(connect(url))


def catalogue() -> Catalogue | None:
    """The provider's catalogue, None until it has been read once."""
    return _catalogue(_url())


@st.cache_data(ttl=FRESH, max_entries=4, show_spinner=False)
def _catalogue(url: str) -> Catalogue | None:
    return load_catalogue(connect(url))


def replanned(arguments: tuple[str, ...]) -> dict[str, Any]:
    """What `tracking replan` says with these arguments; computed in a process of its own and kept for a while."""
    return _replanned(_url(), arguments)


@st.cache_data(ttl=REPLAYED, max_entries=16, show_spinner=False)
def _replanned(url: str, arguments: tuple[str, ...]) -> dict[str, Any]:  # noqa: ARG001 - what it is kept under
    told: dict[str, Any] = errands.answer(["replan", *arguments])
    return told


# Formats


# Streamlit puts icons, emoji and symbols in place of these after Markdown was read, where no backslash keeps them.
_REPLACED = re.compile(r":(?=material/|(?!\d\d:)[\w+-]+:)|(?<!\S)[-<>=~](?=[->=]{1,2}(?!\S))")
_JOINER = "\u2060"


def escape(text: object) -> str:
    """Text from outside for Markdown: shown as it is, nothing in it is interpreted."""
    flat = _REPLACED.sub(lambda found: found[0] + _JOINER, " ".join(wording.plain(text).split()))
    flat = re.sub(r"([\\`*_{}\[\]()<>#+\-.!|~:$&@^=])", r"\\\1", flat)
    # Backslashes do not keep bare addresses from becoming links; an invisible joiner within them does.
    flat = re.sub(r"(?i)(http|https|ftp|mailto|www)(?=\\[:.])", rf"\1{_JOINER}", flat)
    return flat.replace("\\@", rf"\@{_JOINER}")


def ago(moment: datetime | None, at: datetime | None = None) -> str:
    """How long ago, or in how long, in words."""
    if moment is None:
        return "never"
    at = at or now()
    return f"in {wording.duration(moment - at)}" if moment > at else f"{wording.duration(at - moment)} ago"


def badge(state: str) -> None:
    """The state as a word with its shape and colour."""
    icon, color = LOOKS.get(state, UNKNOWN_WORD)
    label = re.sub(r"\\([\[\]])", r"\1", escape(state))  # a badge puts backslashes before brackets by itself
    st.badge(label, icon=icon, color=color)  # type: ignore[arg-type]  # LOOKS holds only its colours


def columns(frame: pd.DataFrame) -> dict[str, Any]:
    """Column settings: headers in plain words, times in UTC."""
    return {name: _column(name, HEADERS.get(name, _plain(name)), frame[name]) for name in map(str, frame.columns)}


def _plain(name: str) -> str:
    return name.removesuffix("_at").replace("_", " ").capitalize()


def _column(name: str, header: str, values: pd.Series) -> Any:
    if name.endswith("_at") or name in TIMES or pd.api.types.is_datetime64_any_dtype(values):
        return st.column_config.DatetimeColumn(header, format="YYYY-MM-DD HH:mm:ss", timezone="UTC")
    return st.column_config.Column(header, pinned=name == "po_number")


def chart(figure: Any, key: str, alt: str) -> None:
    """A plotly chart. Streamlit builds it anew whenever its data change; its place keeps its height meanwhile."""
    with st.container(height=figure.layout.height + 16, border=False):
        st.plotly_chart(figure, key=key, config={"displayModeBar": False}, alt=alt)


def order_link(po_number: str, *, label: str = "", icon: str | None = None) -> None:
    """A link to the order's page."""
    st.page_link("timeline.py", label=label or escape(po_number), icon=icon, query_params={"order": po_number})


def actor() -> Person:
    """Who acts: whoever is signed in, else as they call themselves; written into the order's story."""
    if person := guest():
        return person
    name = st.text_input(
        "Your name", key="actor", max_chars=60, persist_state="session", placeholder="goes into the order's story"
    )
    return Person((name or "").strip() or "Somebody at the screen")


# Errors


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Shows our errors as what went wrong and what to do; the page ends there."""
    try:
        yield
    except NotAdmitted:
        st.rerun()  # the whole page, which begins with the question who it is, also where only a part of it ran
    except NotPermitted as exc:
        st.warning(escape(str(exc)), title="Not yours to do", icon=":material/lock:")
        st.stop()
    except TrackingError as exc:
        title, problems, advice = _explained(exc)
        st.error("\n".join(f"- {escape(problem)}" for problem in problems), title=title, icon=":material/error:")
        if advice:
            st.caption(advice)
        st.stop()


def _explained(error: TrackingError) -> tuple[str, list[Problem] | list[str], str]:
    match error:
        case SettingsError():
            return "The settings cannot be used", list(error.problems), "Mend them and start again."
        case InvalidSubmission():
            return "Nothing was sent", list(error.problems), "Mend what is listed, then send it again."
        case NotAllowed():
            return "Not possible now", [str(error)], "The order may have changed since this page was drawn."
        case ClaimsUnavailable():
            return "The claim data cannot be shown", [str(error)], "Nothing was written into the order's story."
        case UnknownOrder():
            return "No such order", [str(error)], "Look for it on the page Orders."
        case NotComputed():
            return "Nothing was computed", [str(error)], ""
        case StoreBusy():
            return "The store is busy", [str(error)], "Nothing was written. Try again in a moment."
        case StoreUnusable():
            return "The store cannot be used", [str(error)], "A person must act before anything can be shown."
        case _:
            return "That did not work", [str(error)], "Details are in the log."
