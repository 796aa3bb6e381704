"""Verifies an evidence file without a store: bytes, hash chain, and that facts, lines and first page agree.

Whatever was done to it is named with where, but in what the manifest alone vouches for: `records.UNPROVEN`. What is in
it was written by anybody: it is read within bounds, compared, and written nowhere.
"""

import contextlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any

from tracking.orders import model, vocabulary, wording
from tracking.reports.evidence import account as account_words
from tracking.reports.evidence import first_page as page_words
from tracking.reports.evidence import layout, proof
from tracking.reports.evidence.account import IMPOSSIBLE, Account, in_utc, read_account
from tracking.reports.evidence.first_page import fact_rows, first_page, read_facts
from tracking.reports.evidence.layout import DOCUMENT, EVENTS, LINES, MANIFEST, PAGE, NotEvidence
from tracking.reports.evidence.proof import verdict
from tracking.reports.evidence.records import record_faults
from tracking.reports.order_page import runs

DIFFERENCES_AT_MOST = 200
_WORDING = (page_words, account_words, proof, runs, wording, vocabulary, model)
_JSONL = (layout.CALLS, layout.WEBHOOKS)


@dataclass(frozen=True, slots=True)
class Verification:
    """The result: `differences` in words, none when all of it holds, and what the file says of itself and its order.

    `caveats` are what could not be checked here. `sha256` is that of the whole file. `verdict` is None where its events
    cannot be read.
    """

    sha256: str
    differences: tuple[str, ...]
    caveats: tuple[str, ...] = ()
    manifest: Mapping[str, Any] | None = None
    verdict: str | None = None


def verify_file(path: Path) -> Verification:
    """Verify the file. Raises NotEvidence for one that is none, and OSError."""
    with path.open("rb") as file:
        return verify(file.read(layout.MAX_BYTES + 1))


def verify(raw: bytes) -> Verification:
    """Verify these bytes of a file. Raises NotEvidence."""
    unpacked = layout.unpack(raw)
    files, differences, digest = unpacked.files, unpacked.faults, layout.sha256(raw)
    if not files:
        raise NotEvidence("no file of an evidence file is in it")
    try:
        manifest = layout.read_manifest(files.get(MANIFEST, b""))
    except ValueError as exc:
        wrong = [f"{MANIFEST}: {exc}"] if MANIFEST in files else []
        return Verification(digest, (*differences, *wrong))
    differences += islice(_content_faults(manifest["files"], files), DIFFERENCES_AT_MOST)
    account = read_account(manifest, *(files.get(name, b"") for name in (EVENTS, LINES)))
    differences += account.faults
    differences += _unreadable(files)
    differences += _contradictions(account, files)
    caveats: list[str] = []
    differences += _page_faults(manifest, account, files, caveats)
    if not differences and (fault := layout.packing_fault(files, raw)):
        differences.append(fault)
    return Verification(digest, tuple(differences[:DIFFERENCES_AT_MOST]), tuple(caveats), manifest, _verdict(account))


@cache
def version() -> str:
    """What makes evidence files here: its version, and a digest of the code that words the first page."""
    try:
        number = metadata.version("fulfillment-tracking")
    except metadata.PackageNotFoundError:
        number = "of an unknown version"
    sources = "".join(map(inspect.getsource, _WORDING))
    return f"fulfillment-tracking {number}, words {layout.sha256(sources.encode())[:8]}"


def _content_faults(listed: Mapping[str, Any], files: Mapping[str, bytes]) -> Iterator[str]:
    """Where a file is not the one that the manifest lists."""
    for name in sorted(({*layout.NAMES} - {MANIFEST}) | listed.keys()):
        if name not in layout.NAMES or name not in listed:
            yield f"{MANIFEST}: {name[:60]!r} is listed and no part of it, or not listed"
        elif name in files and listed[name] != file_entry(files[name]):
            yield f"{name}: {_swapped(listed, files, name)}"


def file_entry(content: bytes) -> dict[str, Any]:
    """What the manifest lists of a file."""
    return {"bytes": len(content), "sha256": layout.sha256(content)}


def _swapped(listed: Mapping[str, Any], files: Mapping[str, bytes], name: str) -> str:
    entry = file_entry(files[name])
    for other, expected in listed.items():
        if expected == entry and other != name:
            return f"holds what belongs into {other[:60]}"
    size = listed[name].get("bytes") if isinstance(listed[name], dict) else None
    sizes = f": {entry['bytes']:,} bytes" + (f" in place of {size:,}" if isinstance(size, int) else "")
    return "was changed" + ("" if size == entry["bytes"] else sizes)


def _unreadable(files: Mapping[str, bytes]) -> Iterator[str]:
    """Where the records beside the log are not as they were written."""
    for name in (name for name in (*_JSONL, DOCUMENT) if name in files):
        try:
            layout.read_jsonl(files[name])
        except ValueError as exc:
            yield f"{name}: {exc}"


def _contradictions(account: Account, files: Mapping[str, bytes]) -> list[str]:
    """Where the provider's answers say what the log does not."""
    if account.order is None:
        return []
    records: dict[str, list[Any]] = {}
    for name in (EVENTS, DOCUMENT, layout.CALLS):
        with contextlib.suppress(ValueError):  # told already
            records[name] = layout.read_jsonl(files.get(name, b""))
    try:
        return [*islice(record_faults(account.order, records.get(EVENTS, []), records), DIFFERENCES_AT_MOST)]
    except IMPOSSIBLE as exc:
        return [f"{layout.CALLS}: holds what cannot be an answer about this order ({type(exc).__name__})"]


def _page_faults(
    manifest: Mapping[str, Any], account: Account, files: Mapping[str, bytes], caveats: list[str]
) -> Sequence[str]:
    """Where the first page does not say what the other files do.

    Of a page of this version every byte follows from them; of one of another version the facts do, while its words are
    those of that version.
    """
    if any(name not in files for name in layout.NAMES):
        return []
    try:
        page = first_page(manifest, account, files)
        if files[PAGE] == page:
            return []
        if manifest["made_with"] == version():
            return [f"{PAGE}: line {_first_line(files[PAGE], page)} does not say what the other files do"]
        if account.order is None:
            return []
        with in_utc():
            expected = fact_rows(account.order)
    except IMPOSSIBLE as exc:
        return [f"{PAGE}: cannot follow from what is in the other files ({type(exc).__name__})"]
    if layout.manifest_mark(manifest).encode() not in files[PAGE]:
        return [f"{PAGE}: says of the file what {MANIFEST} does not"]
    facts = read_facts(files[PAGE])
    caveats.append(f"the words of the first page are those of {manifest['made_with'][:60]}: its facts were checked")
    nothing = "nothing"
    return [
        f"{PAGE}: says {label} is {facts.get(label, nothing)[:60]!r}, the events say {expected.get(label, nothing)!r}"
        for label in sorted(facts.keys() | expected.keys())
        if facts.get(label) != expected.get(label)
    ]


def _first_line(page: bytes, expected: bytes) -> int:
    """The number of the first line that differs."""
    pairs = zip(page.split(b"\n"), expected.split(b"\n"), strict=False)
    lines = next((number for number, (one, other) in enumerate(pairs, 1) if one != other), None)
    return lines or min(page.count(b"\n"), expected.count(b"\n")) + 1


def _verdict(account: Account) -> str | None:
    try:
        with in_utc():
            return verdict(account.order) if account.order else None
    except IMPOSSIBLE:
        return None
