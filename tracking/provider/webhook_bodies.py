"""Reads the body of a webhook call, in any encoding, form or type, as a mere hint. Raises nothing.

The address of a call proves it, so that nothing in its body may turn it away: what cannot be read is noted, and how
much is unpacked and parsed is bounded.
"""

import hashlib
import itertools
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from json import detect_encoding
from typing import Any
from urllib.parse import parse_qsl

from tracking.errors import UnreadableAnswer
from tracking.provider.json_fields import Fields, charset_of, digest_of, parse_text, stripped_text
from tracking.provider.masking import scrub

LARGEST_UNPACKED = 64 * 1024
LONGEST_ACTION = 60
FULFILLMENT_COMPLETE = "FulfillmentComplete"
# In either spelling of the word, with and without its last letter.
_ANNOUNCEMENTS = frozenset({"fulfillmentcomplete", "fulfilmentcomplete", "fulfillmentcompleted", "fulfilmentcompleted"})
_NAMES = frozenset({"action", "orderid", "ponumber"})
_FORM_FIELDS_AT_MOST = 50
_GZIP_OR_ZLIB, _BARE_DEFLATE = 47, -15


@dataclass(frozen=True, slots=True)
class WebhookCall:
    """What is known of a webhook call. `digest` is the same for every repeat of it.

    `reason` says what could not be read of its body, or why it is no more than a reason to poll; `source` is the
    network it came from.
    """

    action: str | None
    provider_id: str | None
    po_number: str | None
    stated_at: datetime | None
    digest: str
    reason: str | None = None
    source: str | None = None


def read_webhook_call(
    body: bytes,
    content_type: str = "",
    content_encoding: str = "",
    notes: set[str] | None = None,
    document: dict[str, Any] | None = None,
    source: str | None = None,
) -> WebhookCall:
    """Reads what there is to read in the body of a webhook call; both headers are hints as well.

    Notes in `notes` what is wrong with single fields, and in `document` the members of the body as they came.
    """
    unpacked = _unpacked(body, content_encoding)
    members = None if unpacked is None else _members(unpacked, charset_of(content_type))
    if members is None:
        return WebhookCall(None, None, None, None, hashlib.sha256(body).hexdigest(), "the body cannot be read", source)
    if document is not None:
        document.update(members)
    fields = Fields(members, notes=notes)
    action, provider_id, po_number = fields.text("Action"), fields.key("OrderId"), fields.key("PONumber")
    if action is not None:
        announces = _folded_action(action) in _ANNOUNCEMENTS
        action = FULFILLMENT_COMPLETE if announces else scrub(action)[:LONGEST_ACTION]
    # The PONumber is what the address proves: without it, a call of one order could pass for the repeat of another's.
    identity = [(action or "").casefold(), provider_id, _stamp(fields.get("timestamp")), po_number]
    reason = None if provider_id or po_number else "the body names no order"
    if action not in {None, FULFILLMENT_COMPLETE}:
        reason = f"its action is not {FULFILLMENT_COMPLETE}: no more than a reason to poll"
    return WebhookCall(action, provider_id, po_number, fields.time("Timestamp"), digest_of(identity), reason, source)


def _folded_action(action: str) -> str:
    return re.sub(r"[-_. ]", "", action).casefold()


def _stamp(raw: Any) -> str | None:
    """The time as it came, to tell repeats; by its digest where it is no text."""
    if raw is None or raw == "":
        return None
    is_text = isinstance(raw, str | int) and not isinstance(raw, bool)
    return stripped_text(raw)[:200] if is_text else digest_of(raw)


def _unpacked(body: bytes, content_encoding: str) -> bytes | None:
    """The body as it was before it was compressed; None where that is too large. A header that is not so is ignored."""
    encoding = content_encoding.casefold()
    if not ("gzip" in encoding or "deflate" in encoding or body.startswith(b"\x1f\x8b")):
        return body
    for form in (_GZIP_OR_ZLIB, _BARE_DEFLATE):
        try:
            unpacked = zlib.decompressobj(form).decompress(body, LARGEST_UNPACKED + 1)
        except zlib.error:
            continue
        return unpacked if len(unpacked) <= LARGEST_UNPACKED else None
    return body


def _texts(body: bytes, charset: str) -> Iterator[str]:
    """The body in the encodings that it may have, the likeliest first; the last one reads any bytes."""
    for encoding in (detect_encoding(body), charset or "utf-8", "latin-1"):
        try:
            yield body.decode(encoding)
        except (LookupError, ValueError):
            continue


def _members(body: bytes, charset: str) -> Mapping[str, Any] | None:
    """The members of the object in the body: JSON, JSON within JSON, or a form."""
    if not body.strip():
        return None
    texts = _texts(body, charset)
    first = next(texts)
    objects = map(_object_in, itertools.chain((first,), texts))
    return next((members for members in objects if members is not None), None) or _form(first)


def _object_in(text: str, *, levels: int = 3) -> Mapping[str, Any] | None:
    try:
        raw = parse_text(text)
    except UnreadableAnswer:
        return None
    for _ in range(levels):
        match raw:
            case Mapping():
                inner = (value for value in raw.values() if isinstance(value, Mapping) and _is_call(value))
                return raw if _is_call(raw) else next(inner, raw)
            case list():
                entries = [entry for entry in raw if isinstance(entry, Mapping | str)]
                calls = [entry for entry in entries if isinstance(entry, Mapping) and _is_call(entry)]
                raw = _in_common(calls) if len(calls) > 1 else next(iter(entries), None)
            case str():
                return _object_in(raw, levels=levels - 1) if levels > 1 else None
            case _:
                return None
    return None


def _in_common(calls: list[Mapping[str, Any]]) -> Mapping[str, Any]:
    """What all of several calls say: for which of them the body came, its address tells."""
    first, *others = calls
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}


def _is_call(members: Mapping[str, Any]) -> bool:
    return not _NAMES.isdisjoint(str(name).casefold() for name in members)


def _form(text: str) -> Mapping[str, Any] | None:
    try:
        pairs = parse_qsl(text.strip(), max_num_fields=_FORM_FIELDS_AT_MOST)
    except ValueError:
        return None
    if _is_call(members := dict(reversed(pairs))):
        return members
    objects = (_object_in(value) for _, value in pairs)
    return next((inner for inner in objects if inner is not None and _is_call(inner)), None)
