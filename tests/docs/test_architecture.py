"""The tree in docs/architecture.md is what folders and docstrings say, and the house stays within its bounds."""

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


def test_no_room_is_crowded_and_no_file_is_long() -> None:
    rooms = list(architecture.rooms())
    crowded = [room.name for room in rooms if len(architecture.modules(room)) > (14 if room.name == "sandbox" else 10)]
    assert not crowded, crowded
    assert len([room for room in rooms if room.parent == architecture.PACKAGE and room.name != "sandbox"]) <= 9
    assert len(architecture.modules(architecture.PACKAGE)) <= 7
    folders = [architecture.PACKAGE, *rooms, architecture.ROOT / "pages"]
    files = [path for folder in folders for path in architecture.modules(folder)]
    long = [path.name for path in files if len(path.read_text().splitlines()) > 400]
    assert not long, long
