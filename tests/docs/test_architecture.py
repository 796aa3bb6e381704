"""The tree in docs/architecture.md is what the folders and their docstrings say, and the layers are the contract's."""

import architecture_tree as architecture

PAGE = architecture.PAGE.read_text()


def test_the_tree_names_every_room_with_its_duty() -> None:
    assert architecture.tree() in PAGE, "run `make docs`"


def test_the_layers_are_those_of_the_import_contract() -> None:
    assert "\n".join(architecture.layers()) in PAGE, "run `make docs`"


def test_every_room_says_its_duty_in_a_sentence() -> None:
    duties = [architecture.duty(room) for room in architecture.rooms()]
    assert len(duties) >= 14
    assert all(duty.endswith(".") for duty in duties)
