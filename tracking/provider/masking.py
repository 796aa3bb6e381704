"""Masking: hides recipients, claim data, tokens and addresses in JSON and text before people see it.

Owns the names of what is secret or personal. Knows no order, reads no answer and decides nothing on what it sees.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

from tracking.provider.json_fields import storable

_CLAIMS = frozenset({"claimdata", "claimlink", "claimlinkchallengeanswer", "barcodepath", "barcodechars", "codes"})
NEVER_STORED = _CLAIMS | {"webhooksettings", "fulfillmentcomplete"}
_SECRETS = NEVER_STORED | {"token", "accesstoken", "authorization", "password", "secret", "key"}
PERSONAL_FIELDS = {
    *("digitaldeliveryaddress", "physicaldeliveryaddress", "personalization"),
    *("email", "sms", "fromemail", "name", "recipientname", "recipientemail", "recipientsms"),
}
# What the catalogue's ids say of an address names nobody.
_IMPERSONAL_FIELDS = {"shippingmethodid", "carrierid", "country", "deliverydate"}
MAX_RECORDED_TEXT = 4000
MAX_TEXT_READ, MAX_SCRUBBED_TEXT = 4000, 500  # characters of a free text that are read, and that are left of it
_EMAIL = re.compile(r"[^\s@\"'<>(),;:]{1,150}@[^\s@\"'<>(),;:]{1,150}")
_ADDRESS = re.compile(r"(https?://)[^\s\"'<>]+", re.IGNORECASE)
_TELEPHONE = re.compile(r"\+\d[\d ().-]{5,30}\d")
_JWT = re.compile(r"eyJ[\w-]{4,}(\.[\w-]+)*")


def is_confidential(name: str) -> bool:
    """Whether a field of this name, folded, holds claim data, a secret, or what is about a person."""
    return (name in _SECRETS or name in PERSONAL_FIELDS) and name not in _IMPERSONAL_FIELDS


def mask_recipient(text: str) -> str:
    """Masks a recipient: j***@example.com, +1***89, or a first letter."""
    text = storable(text.strip())
    local, at, domain = text.rpartition("@")
    if at and domain and not re.search(r"\s", text):
        return f"{local[:1]}***@{domain[:100]}"
    if re.fullmatch(r"\+?[\d\s().-]{7,}", text):
        return f"{text[:2]}***{text[-2:]}"
    return f"{text[:1]}***"


def scrub(text: str, hide: Callable[[str], str] = str) -> str:
    """Masks e-mail addresses, telephone numbers with a +, links and tokens in free text; cuts it to 500 characters.

    `hide` masks what else it may hold; before the cut, as it would not find what the cut went through.
    """
    text = storable(text[:MAX_TEXT_READ])
    # Each is looked for only where its sign is: most texts have none.
    if "://" in text:
        text = _ADDRESS.sub(r"\1***", text)
    if "eyJ" in text:
        text = _JWT.sub("***", text)
    if "@" in text:
        text = _EMAIL.sub(lambda match: mask_recipient(match.group()), text)
    if "+" in text:
        text = _TELEPHONE.sub(lambda match: mask_recipient(match.group()), text)
    return hide(text)[:MAX_SCRUBBED_TEXT]


def people_in(request: Any, *, within: bool = False) -> set[str]:
    """Collects what an order request says of people, which the provider's words about it must not repeat."""
    if isinstance(request, Mapping):
        named = ((str(name).casefold(), value) for name, value in request.items())
        fields = [(name, value) for name, value in named if name not in _IMPERSONAL_FIELDS]
        return set().union(*(people_in(value, within=within or name in PERSONAL_FIELDS) for name, value in fields))
    if isinstance(request, list):
        return set().union(*(people_in(entry, within=within) for entry in request))
    # The two letters of a state name nobody, and stand in many a word.
    return {request} if within and isinstance(request, str) and len(request) > 2 else set()


def mask_people(text: str, people: Iterable[str]) -> str:
    """Masks these names, numbers and addresses in the text, in whatever case they are written."""
    folded = text.casefold()
    for value in sorted((value for value in people if value.casefold() in folded), key=len, reverse=True):
        text = re.sub(re.escape(value), lambda match: mask_recipient(match.group()), text, flags=re.IGNORECASE)
    return text


def mask_json(raw: Any, limit: int, hide: Callable[[str], str] = str) -> str:
    """Masks recipients, claim data, tokens and webhook addresses in the JSON; cuts its text to `limit`.

    `hide` masks what else a text may hold. Here that is done to texts that are cut alone, to the result by the caller.
    """
    text = json.dumps(_mask(raw, hide, depth=0), ensure_ascii=False)
    return text if len(text) <= limit else f"{text[: max(limit - 1, 0)]}…"


def _mask(value: Any, hide: Callable[[str], str], *, depth: int, personal: bool = False) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if depth > 12:
        return "…"
    if isinstance(value, str):
        return mask_recipient(value) if personal else scrub(value, hide if len(value) > MAX_SCRUBBED_TEXT else str)
    if isinstance(value, Mapping):
        fields = ((*_masked_name(str(name), hide), entry) for name, entry in value.items())
        return {name: _mask_field(folded, entry, hide, depth, personal) for name, folded, entry in fields}
    if isinstance(value, list | tuple):
        items = [_mask(entry, hide, depth=depth + 1, personal=personal) for entry in value[:20]]
        return items if len(value) <= 20 else [*items, f"… and {len(value) - 20} more"]
    return "***" if personal or abs(value) >= 10**30 else value


def _masked_name(name: str, hide: Callable[[str], str]) -> tuple[str, str]:
    """A field's name masked, and as it compares."""
    return _usual_name(name) if len(name) <= 100 else (scrub(name, hide)[:100], name.casefold())


@lru_cache(maxsize=1024)
def _usual_name(name: str) -> tuple[str, str]:
    return scrub(name)[:100], name.casefold()


def _mask_field(folded: str, value: Any, hide: Callable[[str], str], depth: int, personal: bool) -> Any:
    if folded in _SECRETS or (folded == "value" and isinstance(value, str) and len(value) > 20):
        return None if value is None else "***"
    personal = (personal or folded in PERSONAL_FIELDS) and folded not in _IMPERSONAL_FIELDS
    return _mask(value, hide, depth=depth + 1, personal=personal)


class SecretMasker:
    """Masks what is recorded of a body, and in it what `secrets` gives: our own, should the provider repeat them."""

    def __init__(self, secrets: Callable[[], Iterable[str]]) -> None:
        self._secrets = secrets

    def json(self, raw: Any, people: Iterable[str] = ()) -> str:
        """Masks the JSON, our own secrets and these people; cuts its text to MAX_RECORDED_TEXT characters."""
        # Cut last: a secret or a name that the cut goes through would not be found any more.
        most = 4 * MAX_RECORDED_TEXT
        text = mask_json(raw, most, lambda text: self.text(text, people))
        return self.text(text if len(text) < most else text[: text.rfind('"')], people)[:MAX_RECORDED_TEXT]

    def text(self, text: str, people: Iterable[str] = ()) -> str:
        """Masks our own secrets and these people in the text."""
        for secret in self._secrets():
            for form in (secret, json.dumps(secret)[1:-1]):
                text = text.replace(form, "***") if len(form) >= 8 else text
        return mask_people(text, people)
