import asyncio
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import tracking
from tracking.access import Access, AllowList, Person
from tracking.errors import NotAdmitted, NotPermitted

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
LISTS = AllowList(frozenset({"ann@example.com", "*@ops.example.com"}), frozenset({"*@example.com", "ann@example.com"}))
VIEWER = Person("vic@example.com", Access.VIEWER)


# No acts themselves: they record acts, and what viewers do too: they search, sign in and take lists along.
RECORDS = {
    "tracking.storage.team.audit_log.record_act",
    "tracking.team.disclosures.record_export",
    "tracking.team.disclosures.record_search",
    "tracking.team.disclosures.record_sign_in",
    "tracking.app.cli.files.recording.record_export",
}


def takes_a_person(function: Callable[..., Any]) -> bool:
    return any(each.annotation in (Person, "Person") for each in inspect.signature(function).parameters.values())


def acts() -> dict[str, Callable[..., Any]]:
    """Every function of the backend that is told by whom it is called."""
    modules = [
        importlib.import_module(found.name)
        for found in pkgutil.walk_packages(tracking.__path__, "tracking.")
        if ".migrations" not in found.name
    ]
    return {
        f"{module.__name__}.{name}": function
        for module in modules
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and takes_a_person(function) and not name.startswith("_")
        if f"{module.__name__}.{name}" not in RECORDS
    }


def test_the_acts_of_a_person_are_found() -> None:
    actions = {"check_now", "resend", "acknowledge", "add_note", "reveal"}
    expected = {f"tracking.submissions.actions.{name}" for name in actions}
    assert set(acts()) >= expected | {"tracking.submissions.submit.submit"}


@pytest.mark.parametrize("act", sorted(acts()))
def test_an_act_refuses_a_viewer_before_it_touches_anything(act: str) -> None:
    function = acts()[act]
    nothing = dict.fromkeys(inspect.signature(function).parameters)

    def call() -> None:
        if inspect.iscoroutine(begun := function(**{**nothing, "by": VIEWER})):
            asyncio.run(begun)

    with pytest.raises(NotPermitted, match="only an operator may do this"):
        call()


def test_an_operator_may_act_and_a_viewer_and_a_nameless_one_may_not() -> None:
    Person("ann").must_operate()
    with pytest.raises(NotPermitted, match="is signed in as a viewer"):
        VIEWER.must_operate()
    with pytest.raises(NotPermitted, match="no name is given"):
        Person(" ").must_operate()


# Who may come in


def claims(email: object = "ann@example.com", **more: Any) -> dict[str, Any]:
    return {"email": email, "email_verified": True, "iat": NOW.timestamp() - 60, **more}


@pytest.mark.parametrize(
    ("address", "access"),
    [
        ("ann@example.com", Access.OPERATOR),
        (" Ann@Example.COM ", Access.OPERATOR),
        ("bob@example.com", Access.VIEWER),
        ("bob@ops.example.com", Access.OPERATOR),
    ],
)
def test_operators_win_over_viewers_and_case_does_not_matter(address: str, access: Access) -> None:
    assert LISTS.admit(claims(address), NOW) == Person(address.strip().lower(), access, signed_in=True)


@pytest.mark.parametrize(
    "address",
    [
        "ann@example.org",
        "ann@sub.example.com",
        "ann@example.com.evil.example",
    ],
)
def test_an_address_on_no_list_is_not_admitted(address: str) -> None:
    with pytest.raises(NotAdmitted, match="on neither the list"):
        LISTS.admit(claims(address), NOW)


@pytest.mark.parametrize(
    "email",
    [
        None,
        "",
        " ",
        0,
        "ann",
        "@example.com",
        "ann@x.example@example.com",
        "a nn@example.com",
        "ann@example.com\n\n\tx",
        "\u212aann@example.com",
        "ann@example.com\u2060",
    ],
)
def test_whoever_has_no_address_or_one_that_looks_like_anothers_is_not_admitted(email: object) -> None:
    with pytest.raises(NotAdmitted, match="no usable e-mail address"):
        LISTS.admit(claims(email), NOW)
    with pytest.raises(NotAdmitted, match="no usable e-mail address"):
        LISTS.admit({}, NOW)


@pytest.mark.parametrize("verified", [False, "false", "False", None, 0, "no"])
@pytest.mark.parametrize("trusts", [False, True])
def test_an_address_that_was_not_verified_counts_never(verified: object, trusts: bool) -> None:
    lists = AllowList(LISTS.operators, trust_unverified=trusts)
    with pytest.raises(NotAdmitted, match="was not verified"):
        lists.admit(claims(email_verified=verified), NOW)


def test_an_address_of_which_nothing_is_said_counts_only_where_that_was_asked_for() -> None:
    silent = claims()
    del silent["email_verified"]
    with pytest.raises(NotAdmitted, match="does not say whether ann"):
        LISTS.admit(silent, NOW)
    assert AllowList(LISTS.operators, trust_unverified=True).admit(silent, NOW).access is Access.OPERATOR
    assert LISTS.admit(claims(email_verified="true"), NOW).access is Access.OPERATOR


@pytest.mark.parametrize("issued_at", [None, "soon", True])
def test_a_sign_in_of_unknown_age_does_not_count(issued_at: object) -> None:
    with pytest.raises(NotAdmitted, match="does not say when"):
        LISTS.admit(claims(iat=issued_at), NOW)


def test_a_sign_in_counts_for_so_long_and_no_longer() -> None:
    lists = AllowList(LISTS.operators, sign_in_lifetime=timedelta(minutes=30))
    begun = (NOW - timedelta(minutes=30)).timestamp()
    assert lists.admit(claims(iat=begun + 1), NOW).name == "ann@example.com"
    with pytest.raises(NotAdmitted, match=r"more than 0\.5 hours ago"):
        lists.admit(claims(iat=begun), NOW)


def test_empty_lists_let_nobody_in() -> None:
    with pytest.raises(NotAdmitted, match="on neither the list"):
        AllowList().admit(claims(), NOW)
