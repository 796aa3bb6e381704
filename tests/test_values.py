"""Values are made quickly and compare, hash and are copied as frozen dataclasses are."""

import copy
import pickle
from dataclasses import FrozenInstanceError, dataclass, fields, replace

import pytest

from tracking.orders.model import Line
from tracking.values import value


@value(frozen=True, slots=True)
class Point:
    x: int
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Frozen:
    x: int


def test_a_value_is_what_its_fields_are() -> None:
    point = Point(1, ("a",))
    assert {point, Point(1, ("a",))} == {point}
    assert replace(point, x=2) == Point(2, ("a",)) != point
    assert [field.name for field in fields(Point)] == ["x", "names"]
    assert copy.copy(point) == pickle.loads(pickle.dumps(point)) == point
    assert repr(point).endswith("Point(x=1, names=('a',))")
    with pytest.raises(AttributeError):
        point.z = 1  # type: ignore[attr-defined]


def test_only_the_type_checker_guards_a_value() -> None:
    """What it says of this line is asserted by its comment: mypy complains of one that is not needed."""
    point = Point(1)
    point.x = 2  # type: ignore[misc]
    assert point.x == 2
    with pytest.raises(FrozenInstanceError):
        Frozen(1).x = 2  # type: ignore[misc]
    assert hash(Line(1, "CVS", 1000, 1)) == hash(Line(1, "CVS", 1000, 1))
