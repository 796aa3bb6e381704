"""The saved views beside the list of orders: open one, save this filter for oneself or for all, delete one."""

import functools

import streamlit as st

import actors
import cached
import elements
import session
from tracking.access import Person
from tracking.orders import wording
from tracking.orders.observations import utc_now
from tracking.reports.order_list.filters import Filters
from tracking.reports.team.saved_views import SavedView
from tracking.team import saved_views
from tracking.team.work import LONGEST_NAME

SAVE, DELETE = "save", "delete"
OWN, ALL = "For me", "For everybody"


def menu(filters: Filters) -> None:
    """One menu: the views to open, then what can be done with them."""
    views = {str(view.id): view for view in cached.saved_views(actors.name())}
    operates = session.may_not_act() is None
    options = [*views, *([SAVE] if operates else []), *([DELETE] if operates and views else [])]
    if not options:
        return
    picked = st.menu_button(
        "Saved views", options, key="saved_views", type="tertiary", icon=":material/bookmark:",
        format_func=lambda option: _label(views, option),
    )  # fmt: skip
    if picked == SAVE:
        _save(filters, tuple(views.values()))
    elif picked == DELETE:
        _delete(tuple(views.values()))
    elif picked in views:
        st.switch_page("orders.py", query_params=dict(views[picked].query) or {"view": "all"})


def _label(views: dict[str, SavedView], option: str) -> str:
    if option in views:
        return name_of(views[option])
    return {SAVE: ":material/bookmark_add: Save this view", DELETE: ":material/delete: Delete a view"}[option]


def name_of(view: SavedView) -> str:
    """The view's name; a shared one says so."""
    icon, shared = ("group", " (shared)") if view.shared else ("person", "")
    return f":material/{icon}: {elements.escape(view.name)}{shared}"


def _plain_name(view: SavedView) -> str:
    """The same for a list to choose from, which shows no icons and reads no Markdown."""
    return f"{wording.plain(view.name)}{' (shared)' if view.shared else ''}"


@elements.dialog("Save this view", icon=":material/bookmark_add:")
def _save(filters: Filters, views: tuple[SavedView, ...]) -> None:
    """Asks before a view of the same name is replaced: the press that first named it does not."""
    person = actors.field()
    name = " ".join((st.text_input("Name", key="view_name", max_chars=LONGEST_NAME) or "").split())
    shared = st.segmented_control("Who sees it", (OWN, ALL), default=OWN, required=True, key="view_shared") == ALL
    this = (name, shared)
    alike = [view for view in views if view.name.casefold() == name.casefold()]
    there = next((view for view in alike if view.shared == shared), None)
    taken, asked = there is not None, st.session_state.get("view_asked") == this
    st.session_state["view_asked"] = this if taken else None
    missing = None if any(map(str.isalnum, name)) else "Enter a name with a letter or a digit."
    if there:
        st.warning(f"“{elements.escape(there.name)}” exists already. Replace it?", icon=":material/bookmark:")
    elif alike:
        whose = "You have" if shared else "Everybody has"
        st.caption(f"{whose} a view of this name too; the menu marks the shared one.")
    label = "Replace it" if taken else "Save"
    pressed = st.button(label, key="view_save", type="primary", disabled=missing is not None, help=missing)
    if missing:
        st.caption(missing)
    if pressed and asked == taken and actors.is_named(person):
        elements.attempt(functools.partial(_store, name, filters, person, shared=shared, replaces=taken))


def _store(name: str, filters: Filters, by: Person, *, shared: bool, replaces: bool) -> None:
    saved_views.save(session.database(), name, filters, shared=shared, by=by, now=utc_now(), replaces=replaces)
    cached.forget_saved_views()
    elements.toast_after_rerun("Saved for everybody." if shared else "Saved.")


@elements.dialog("Delete a view", icon=":material/delete:")
def _delete(views: tuple[SavedView, ...]) -> None:
    person = actors.field()
    view = st.selectbox("View", views, format_func=_plain_name, key="view_to_delete")
    if view.shared:
        st.caption(f"Shared: everybody loses it. Saved by {elements.escape(view.created_by)}.")
    if st.button("Delete", key="view_delete", type="primary") and actors.is_named(person):
        elements.attempt(functools.partial(_remove, view, person))


def _remove(view: SavedView, by: Person) -> None:
    saved_views.remove(session.database(), view.id, by=by, now=utc_now())
    cached.forget_saved_views()
    elements.toast_after_rerun("Deleted.")
