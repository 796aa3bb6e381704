"""Layout of an evidence file: its members, how they are packed, and how one is read again. Pure.

It is a ZIP whose every byte follows from what is in it: the files in a fixed order, uncompressed, without times of
their own. So a byte that was changed anywhere is found by packing anew what was read, nothing can unpack to more than
is there, and a name in it is only ever compared with those below.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tracking.errors import TrackingError
from tracking.orders.event_chain import canonical

FORMAT, VERSION = "order evidence", 1
PAGE, MANIFEST, EVENTS, LINES = "index.html", "manifest.json", "events.jsonl", "lines.jsonl"
CALLS, WEBHOOKS, DOCUMENT = "api-calls.jsonl", "webhook-calls.jsonl", "document.json"
NAMES = (PAGE, MANIFEST, EVENTS, LINES, CALLS, WEBHOOKS, DOCUMENT)
MAX_BYTES = 32 * 2**20
_SIGNATURE, _HEADER = b"PK\x03\x04", 30
_LONGEST_NAME, _FAULTS_AT_MOST = 200, 100
_BROKEN = (ValueError, TypeError, RecursionError)


class NotEvidence(TrackingError):
    """What was given is no evidence file of a kind that can be checked here; the message says why."""


@dataclass(slots=True)
class Unpacked:
    """What could be read of an evidence file, and in words where it is not as it was packed."""

    files: dict[str, bytes] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def pack(files: Mapping[str, bytes]) -> bytes:
    """The evidence file with these files; the same bytes for the same files."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name in (name for name in NAMES if name in files):
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.create_version, entry.extract_version = 3, 20, 20
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, files[name])
    return packed.getvalue()


def unpack(raw: bytes) -> Unpacked:
    """Unpack an evidence file in memory, tolerating whatever was done to it.

    Raises NotEvidence where it is too large, no ZIP, or one that something else has packed.
    """
    if len(raw) > MAX_BYTES:
        raise NotEvidence(f"it has more than {MAX_BYTES // 2**20} MB; no evidence file is so large")
    if not raw.startswith(_SIGNATURE):
        raise NotEvidence("it is no ZIP file, or its first bytes were changed")
    unpacked, at = Unpacked(), 0
    while raw[at : at + 4] == _SIGNATURE and len(unpacked.faults) < _FAULTS_AT_MOST:
        at = _read_file(raw, at, unpacked)
    missing = [f"{name}: is missing" for name in NAMES if name not in unpacked.files]
    unpacked.faults += missing
    return unpacked


def packing_fault(files: Mapping[str, bytes], raw: bytes) -> str | None:
    """Where a file whose contents are all right is not packed as an evidence file is; None where it is."""
    packed = pack(files)
    if packed == raw:
        return None
    pairs = zip(packed, raw, strict=False)
    at = next((at for at, (one, other) in enumerate(pairs) if one != other), min(len(packed), len(raw)))
    if at == len(packed):
        return f"bytes were added after its end, from byte {at} on"
    return f"the ZIP itself was changed at byte {at}, beside the content of its files"


def _read_file(raw: bytes, at: int, unpacked: Unpacked) -> int:
    """Read the file whose header begins there; returns where the next one should begin."""
    header = raw[at : at + _HEADER]
    flags, method = (int.from_bytes(header[place : place + 2], "little") for place in (6, 8))
    size, name_size, extra = (int.from_bytes(header[a:b], "little") for a, b in ((18, 22), (26, 28), (28, 30)))
    begin = at + _HEADER + name_size + extra
    name = raw[at + _HEADER : at + _HEADER + min(name_size, _LONGEST_NAME)].decode("ascii", "backslashreplace")
    if flags or method:
        if not unpacked.files:
            raise NotEvidence("its files are compressed: it was packed anew by something else")
        unpacked.faults.append(f"{_quoted(name)}: the ZIP entry at byte {at} was changed, or packed by something else")
        return len(raw)
    if begin + size > len(raw):
        unpacked.faults.append(f"{_quoted(name)}: is cut off, or its ZIP entry at byte {at} was changed")
        return len(raw)
    if name not in NAMES:
        unpacked.faults.append(f"{_quoted(name)}: belongs to no evidence file; it was added, or its name was changed")
    elif name in unpacked.files:
        unpacked.faults.append(f"{name}: is there twice")
    else:
        unpacked.files[name] = raw[begin : begin + size]
    return begin + size


def _quoted(name: str) -> str:
    return name if name in NAMES else repr(name[:60])


def sha256(content: bytes) -> str:
    """The SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


def jsonl(records: Iterable[Any]) -> bytes:
    """One record in JSON a line, names sorted, ASCII alone."""
    return b"".join(canonical(record).encode() + b"\n" for record in records)


def read_jsonl(content: bytes) -> list[Any]:
    """The records of `jsonl`. Raises ValueError that names the first line that is not as it writes it."""
    if content and not content.endswith(b"\n"):
        raise ValueError("its last line is cut off")
    records = []
    for number, text in enumerate(content.split(b"\n")[:-1], start=1):
        try:
            record = json.loads(text.decode("ascii"))
            if canonical(record).encode() != text:
                raise ValueError("it is written in another way")
        except _BROKEN as exc:
            raise ValueError(f"line {number} is not as it was written") from exc
        records.append(record)
    return records


def manifest_text(manifest: Mapping[str, Any]) -> bytes:
    """The manifest as it is packed."""
    return (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode()


def manifest_mark(manifest: Mapping[str, Any]) -> str:
    """What the first page holds of the manifest so that neither is changed alone; `files` holds the page's own hash."""
    without = {name: value for name, value in manifest.items() if name != "files"}
    return f'<meta name="manifest" content="{sha256(manifest_text(without))}">'


def read_manifest(content: bytes) -> Mapping[str, Any]:
    """The manifest.

    Raises NotEvidence for another format or version, ValueError where it is not as it was written.
    """
    try:
        manifest = json.loads(content.decode("ascii"))
    except _BROKEN as exc:
        raise ValueError("is no JSON any more") from exc
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise NotEvidence("its manifest is not that of an evidence file")
    if manifest.get("version") != VERSION:
        raise NotEvidence(f"it has version {manifest.get('version')!r:.20} of the format; this console reads {VERSION}")
    if (wrong := _wrong_fields(manifest, _MANIFEST)) or (wrong := _wrong_order(manifest["order"])):
        raise ValueError(f"lacks what it must hold, or has more: {', '.join(wrong)}")
    if manifest_text(manifest) != content:
        raise ValueError("is written in another way than it was made")
    return manifest


_MANIFEST: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("format", "made_at", "made_by", "made_with"), (str,)),
    **dict.fromkeys(("signed_in", "masked"), (bool,)),
    **dict.fromkeys(("order", "files", "left_out"), (dict,)),
    "version": (int,),
    "log_head": (str, type(None)),
}
_ORDER: Mapping[str, tuple[type, ...]] = {
    "po_number": (str,),
    "events": (int,),
    "head": (str, type(None)),
    "newest_event_id": (int,),
}


_REMOVED: Mapping[str, tuple[type, ...]] = {
    "events": (int,),
    "last_hash": (str,),
    "text": (str,),
    "facts": (dict,),
}
"""Of an order whose first events left the database: how many, the hash of the last, in words, and its facts by then."""


def _wrong_order(order: Mapping[str, Any]) -> Sequence[str]:
    if "removed" not in order:
        return _wrong_fields(order, _ORDER)
    wrong = _wrong_fields(order, {**_ORDER, "removed": (dict,)})
    return wrong or _wrong_fields(order["removed"], _REMOVED)


def _wrong_fields(values: Mapping[str, Any], shape: Mapping[str, tuple[type, ...]]) -> Sequence[str]:
    names = sorted({*values, *shape})
    unlike = (
        name for name in names if name not in shape or name not in values or not isinstance(values[name], shape[name])
    )
    return [name[:60] for name in unlike]
