"""One glossary everywhere people read: no retired word in what the source and the documentation say to them."""

import functools
import re
from pathlib import Path

import pytest
from user_texts import ROOT, Text, page_texts, source_texts

from tracking.orders import vocabulary
from tracking.orders.model import State
from tracking.reports.order_list.filters import VIEW_LABELS

# What is retired, and the word of docs/glossary.md in its place.
RETIRED = {
    r"\blooks?\b(?! (for|up|it up|like|alike)\b)|\blook(ed|ing) at\b": "poll; check",
    r"(?<!would )\bnotices?\b": "webhook",
    r"\bpersons?\b": "you; operator; somebody",
    r"\bcallbacks?\b": "webhook",
    r"\bhand(s|ed|ing)? (it |them )?in\b": "submit; upload",
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\bsigns? of life\b|\bbeat(s|en)?\b|\bnever seen\b": "system health; heartbeat; not running",
    r"\bstor(y|ies)\b": "timeline",
    r"\bdone (today|to known|already)\b|\bafter done\b|\bknown to \{|\bour wait\b": "completed; detected",
    r"\bfinish(es|ed|ing)?\b": "complete; final",
    r"\b(the|a|this|one|no|every|each|old|new|empty|restored) stores?\b(?! (the|what|each)\b)": "database",
    r"\bloops?\b": "background worker",
    r"\bwr(ite|itten) down\b": "add; acknowledge",
    r"\boutcome unknown\b": "unconfirmed",
    r"\bplaced elsewhere\b|\bfrom elsewhere\b(?! gets|\.)": "by other systems",
    r"\bsmallest first\b": "ascending",
    r"\b(nine|half) in ten\b|\bnine-in-ten\b": "90 %",
    r"\bprovider's ids?\b": "provider ID",
    r"\bat the (most|least)\b": "at most; at least",
}
# The file, a part of the text, and why it stays.
ALLOWED = (
    ("pages/charts/order.py", "outcome unknown", "stored word of an event"),
    ("pages/session.py", "preferences of person", "hashed: the key of what somebody prefers"),
    ("tracking/app/demonstration/bulk/histories.py", "person{}@example.com", "made-up addresses"),
    ("tracking/app/demonstration/bulk/rows.py", "{} notice", "hashed for a made-up digest"),
    ("tracking/orders/vocabulary.py", "notice ", "stored words of events, hashed"),
    ("tracking/orders/vocabulary.py", "outcome unknown", "stored word of an event, hashed"),
    ("tracking/orders/vocabulary.py", "may have finished", "stored reason for a poll"),
    ("tracking/orders/vocabulary.py", "requested by a person", "stored reason for a poll"),
    ("tracking/orders/vocabulary.py", "a notice names", "the words of old events"),
    ("tracking/orders/vocabulary.py", "finished as", "the words of old events"),
    (
        "tracking/orders/rules.py",
        "finished as",
        "compared with the stored words: others would ask for a decision again",
    ),
    ("tracking/orders/model.py", "Outcome unknown", "stored word of a state, also a value of --state"),
)
NOT_READ = ("tracking/storage/migrations/", "tracking/storage/tables.py")


def documentation() -> list[Text]:
    """The README, the pages of docs/, what is new in the changelog, and what the tests are for."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "tests" / "README.md"]
    texts = [text for page in pages for text in page_texts(page)]
    changelog = ROOT / "CHANGELOG.md"
    newest = re.split(r"^## ", changelog.read_text(), maxsplit=2, flags=re.MULTILINE)[1]
    return [*texts, *page_texts(changelog, newest)]


def sources() -> list[Text]:
    """What the pages and the package say to people."""
    files = [file for folder in ("pages", "tracking") for file in sorted((ROOT / folder).rglob("*.py"))]
    texts = (text for file in files for text in source_texts(file))
    return [text for text in texts if not text.file.startswith(NOT_READ)]


@functools.cache
def all_texts() -> tuple[Text, ...]:
    return (*sources(), *documentation())


def is_allowed(text: Text) -> bool:
    return any(file == text.file and part in text.text for file, part, _ in ALLOWED)


@pytest.mark.parametrize(("retired", "better"), RETIRED.items(), ids=RETIRED.values())
def test_nothing_that_people_read_holds_a_retired_word(retired: str, better: str) -> None:
    pattern = re.compile(retired, re.IGNORECASE)
    left = [text for text in all_texts() if pattern.search(text.text) and not is_allowed(text)]
    assert not left, "\n".join(
        [f"in place of it: {better}", *(f"{text.file}:{text.line}: {text.text}" for text in left)]
    )


def test_every_exception_is_needed() -> None:
    patterns = [re.compile(pattern, re.IGNORECASE) for pattern in RETIRED]
    used = {
        (file, part)
        for file, part, _ in ALLOWED
        for text in all_texts()
        if file == text.file and part in text.text and any(pattern.search(text.text) for pattern in patterns)
    }
    assert [(file, part) for file, part, _ in ALLOWED if (file, part) not in used] == []


def test_texts_are_found_where_people_read_them_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("user_texts.ROOT", tmp_path)
    file = tmp_path / "page.py"
    file.write_text(
        '"""A docstring."""\n'
        'st.button(":material/person: A label", key="a key", help=f"A help with {name} and {count(3, \'A noun\')}")\n'
        'def look_command(x: Annotated[str, Option(help="An option")]):\n    """A command."""\n'
        'log.info("A line of the log")\nre.compile("A pattern")\n'
        'if state == "A stored word":\n    print({"A key": "A value"}["Another key"], kind["A column"], "column")\n'
    )
    assert sorted(text.text for text in source_texts(file)) == [
        "A command.", "A help with {} and {}", "A label", "A noun", "A value", "An option",
    ]  # fmt: skip
    page = tmp_path / "page.md"
    page.write_text(
        "# A heading\n\n```\ncode\n```\nText with `code` and [a link](code.md).\n<!-- x -->\na\n<!-- end of x -->\n"
    )
    assert [(text.line, text.text) for text in page_texts(page)] == [(1, "# A heading"), (6, "Text with  and [a link.")]


def test_the_glossary_has_every_state_view_and_reason() -> None:
    glossary = (ROOT / "docs" / "glossary.md").read_text()
    words = {*map(vocabulary.state_label, State), *vocabulary.REASON_LABELS.values(), *VIEW_LABELS.values()}
    assert [word for word in sorted(words) if f"\n| {word} |" not in glossary] == []
