"""Records searches, exports and sign-ins of the pages' readers in the audit log."""

from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st

import actors
import session
from tracking.access import Person
from tracking.orders.observations import utc_now
from tracking.reports.order_list.filters import Filters
from tracking.storage.team.audit_log import UNNAMED
from tracking.team import disclosures


def reader() -> Person:
    """Whoever is at the screen, also before they gave a name."""
    return actors.current() or Person(UNNAMED)


def secret() -> str:
    """What texts are hashed with."""
    return _secret(session.settings().database_url)


@st.cache_resource(max_entries=4, show_spinner=False)
def _secret(url: str) -> str:  # noqa: ARG001 - what it is remembered under
    """The same, which is read from a file and made durable, once for a process and its store."""
    return session.settings().webhook_secrets()[0]


def export(
    what: str,
    make: Callable[[], tuple[bytes, int]],
    *,
    filters: Filters | None = None,
    order_id: int | None = None,
    job_id: int | None = None,
    form: str | None = None,
    chosen: Mapping[str, Any] | None = None,
) -> Callable[[], bytes]:
    """The content of a download that is not given before the audit log says who took it; `make` says how many rows.

    `filters` is a filter of orders, `chosen` any other one, without what somebody typed.

    It is made outside of the script, where nobody is known to be at the screen.
    """
    named, database, key = reader(), session.database(), secret()

    def recorded(admitted: Person | None) -> bytes:
        data, rows = make()
        by = admitted or named
        more = {"form": form, "rows": rows, "order_id": order_id, "job_id": job_id, "filter": chosen or None}
        disclosures.record_export(database, what, by=by, now=utc_now(), secret=key, filters=filters, **more)
        return data

    return session.only_while_admitted(recorded)


def search(text: str, hits: int, *, more: bool = False, order_id: int | None = None) -> None:
    """Record a search once in a session until another text is searched for; `more`: at least so many matched."""
    this = text.strip(), order_id
    if not this[0] or st.session_state.get("recorded_search") == this:
        return
    st.session_state["recorded_search"] = this
    by, key = reader(), secret()
    disclosures.record_search(
        session.database(), text, hits, by=by, now=utc_now(), secret=key, more=more, order_id=order_id
    )


def sign_in() -> None:
    """Record that whoever is at the screen has signed in; once for each sign-in, however many tabs they open."""
    person, issued_at = session.current_person(), session.identity().get("iat")
    if person is None or issued_at is None or st.session_state.get("recorded_sign_in") == issued_at:
        return
    if disclosures.record_sign_in(session.database(), issued_at, by=person, now=utc_now()):
        st.session_state["recorded_sign_in"] = issued_at


def refusal(why: str) -> None:
    """Record that somebody has signed in and is not admitted; not that a sign-in is over, which happens every day."""
    claims, now = session.identity(), utc_now()
    issued_at, lifetime = claims.get("iat"), session.allow_list().sign_in_lifetime
    is_over = isinstance(issued_at, int | float) and now.timestamp() - issued_at >= lifetime.total_seconds()
    if is_over or st.session_state.get("recorded_refusal") == issued_at:
        return
    st.session_state["recorded_refusal"] = issued_at
    disclosures.record_refusal(session.unchecked_database(), claims, why, now=now)
