"""The tree in docs/architecture.md is what the folders and their docstrings say."""

import architecture_tree as architecture

PAGE = architecture.PAGE.read_text()


def test_the_tree_names_every_room_with_its_duty() -> None:
    assert architecture.tree() in PAGE, "run `make docs`"


def test_the_listing_names_every_module_with_its_duty() -> None:
    assert architecture.written(PAGE) == PAGE, "run `make docs`"


def test_the_layers_are_those_of_the_import_contract() -> None:
    assert "\n".join(architecture.layers()) in PAGE, "run `make docs`"


def test_every_room_says_its_duty_in_a_sentence() -> None:
    duties = [architecture.duty(room) for room in architecture.rooms()]
    assert len(duties) >= 14
    assert all(duty.endswith(".") for duty in duties)


def test_every_module_says_its_duty_in_a_sentence() -> None:
    folders = [architecture.PACKAGE, *architecture.rooms(), architecture.ROOT / "pages"]
    duties = {path: architecture.duty(path) for folder in folders for path in architecture.modules(folder)}
    assert len(duties) > 100
    wanting = [path.name for path, duty in duties.items() if not duty.endswith(".") or len(duty.split()) < 4]
    assert not wanting, wanting
