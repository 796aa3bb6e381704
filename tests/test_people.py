import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any

import pytest

import tracking
from tracking.errors import NotPermitted
from tracking.people import Access, Person

VIEWER = Person("vic@example.com", Access.VIEWER)


def takes_a_person(function: Callable[..., Any]) -> bool:
    return any(each.annotation is Person for each in inspect.signature(function).parameters.values())


def acts() -> dict[str, Callable[..., Any]]:
    """Every function of the backend that is told by whom it is called."""
    modules = [importlib.import_module(f"tracking.{found.name}") for found in pkgutil.iter_modules(tracking.__path__)]
    return {
        f"{module.__name__}.{name}": function
        for module in modules
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and takes_a_person(function) and not name.startswith("_")
    }


def test_the_acts_of_a_person_are_found() -> None:
    known = {"submit", "check_now", "resend", "acknowledge", "add_note"}
    assert set(acts()) >= {f"tracking.submissions.{name}" for name in known}


@pytest.mark.parametrize("act", sorted(acts()))
def test_an_act_refuses_a_viewer_before_it_touches_anything(act: str) -> None:
    function = acts()[act]
    nothing = dict.fromkeys(inspect.signature(function).parameters)
    with pytest.raises(NotPermitted, match="only an operator may do this"):
        function(**{**nothing, "by": VIEWER})


def test_an_operator_may_act_and_a_viewer_and_a_nameless_one_may_not() -> None:
    Person("ann").must_operate()
    with pytest.raises(NotPermitted, match="is signed in as a viewer"):
        VIEWER.must_operate()
    with pytest.raises(NotPermitted, match="nobody is named"):
        Person(" ").must_operate()
