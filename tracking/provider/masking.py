"""What people may see of foreign JSON and text: recipients, claim data, tokens and addresses masked.

Owns the names of what is secret or personal. Knows no order, reads no answer and decides nothing on what it sees.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

from tracking.provider.json_fields import storable

_CLAIMS = frozenset({"claimdata", "claimlink", "claimlinkchallengeanswer", "barcodepath", "barcodechars", "codes"})
NEVER_KEPT = _CLAIMS | {"webhooksettings", "fulfillmentcomplete"}
_SECRETS = NEVER_KEPT | {"token", "accesstoken", "authorization", "password", "secret", "key"}
_ADDRESSES = {"digitaldeliveryaddress", "physicaldeliveryaddress", "personalization"}
PEOPLE = _ADDRESSES | {"email", "sms", "fromemail", "name", "recipientname", "recipientemail", "recipientsms"}
# What the catalogue's ids say of an address names nobody.
_TOLD = {"shippingmethodid", "carrierid", "country", "deliverydate"}
MAX_RECORDED_TEXT = 4000
READ, SCRUBBED = 4000, 500  # characters of a free text that are read, and that are left of it
_EMAIL = re.compile(r"[^\s@\"'<>(),;:]{1,150}@[^\s@\"'<>(),;:]{1,150}")
_ADDRESS = re.compile(r"(https?://)[^\s\"'<>]+", re.IGNORECASE)
_TELEPHONE = re.compile(r"\+\d[\d ().-]{5,30}\d")
_JWT = re.compile(r"eyJ[\w-]{4,}(\.[\w-]+)*")


def mask_recipient(text: str) -> str:
    """A recipient as people may see it: j***@example.com, +1***89, or a first letter."""
    text = storable(text.strip())
    local, at, domain = text.rpartition("@")
    if at and domain and not re.search(r"\s", text):
        return f"{local[:1]}***@{domain[:100]}"
    if re.fullmatch(r"\+?[\d\s().-]{7,}", text):
        return f"{text[:2]}***{text[-2:]}"
    return f"{text[:1]}***"


def scrub(text: str, hide: Callable[[str], str] = str) -> str:
    """Free text with e-mail addresses, telephone numbers with a +, links and tokens masked; cut to 500 characters.

    `hide` masks what else it may hold; before the cut, as it would not find what the cut went through.
    """
    text = storable(text[:READ])
    # Each is looked for only where its sign is: most texts have none.
    if "://" in text:
        text = _ADDRESS.sub(r"\1***", text)
    if "eyJ" in text:
        text = _JWT.sub("***", text)
    if "@" in text:
        text = _EMAIL.sub(lambda found: mask_recipient(found.group()), text)
    if "+" in text:
        text = _TELEPHONE.sub(lambda found: mask_recipient(found.group()), text)
    return hide(text)[:SCRUBBED]


def people_in(request: Any, *, within: bool = False) -> set[str]:
    """What an order request says of people, which the provider's words about it must not repeat to a reader."""
    if isinstance(request, Mapping):
        named = ((str(name).casefold(), value) for name, value in request.items())
        kept = (people_in(value, within=within or name in PEOPLE) for name, value in named if name not in _TOLD)
        return set().union(*kept)
    if isinstance(request, list):
        return set().union(*(people_in(entry, within=within) for entry in request))
    # The two letters of a state name nobody, and stand in many a word.
    return {request} if within and isinstance(request, str) and len(request) > 2 else set()


def without(text: str, people: Iterable[str]) -> str:
    """The text with these names, numbers and addresses masked, in whatever case they are written."""
    folded = text.casefold()
    for value in sorted((value for value in people if value.casefold() in folded), key=len, reverse=True):
        text = re.sub(re.escape(value), lambda found: mask_recipient(found.group()), text, flags=re.IGNORECASE)
    return text


def masked(raw: Any, limit: int, hide: Callable[[str], str] = str) -> str:
    """The JSON as people may see it: recipients, claim data, tokens and webhook addresses masked; cut to `limit`.

    `hide` masks what else a text may hold. Here it is done to the texts that are cut alone, to
    the result by the caller.
    """
    text = json.dumps(_masked(raw, hide, depth=0), ensure_ascii=False)
    return text if len(text) <= limit else f"{text[: max(limit - 1, 0)]}…"


def _masked(value: Any, hide: Callable[[str], str], *, depth: int, personal: bool = False) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if depth > 12:
        return "…"
    if isinstance(value, str):
        return mask_recipient(value) if personal else scrub(value, hide if len(value) > SCRUBBED else str)
    if isinstance(value, Mapping):
        named = ((*_name(str(name), hide), entry) for name, entry in value.items())
        return {shown: _masked_field(folded, entry, hide, depth, personal) for shown, folded, entry in named}
    if isinstance(value, list | tuple):
        shown = [_masked(entry, hide, depth=depth + 1, personal=personal) for entry in value[:20]]
        return shown if len(value) <= 20 else [*shown, f"… and {len(value) - 20} more"]
    return "***" if personal or abs(value) >= 10**30 else value


def _name(name: str, hide: Callable[[str], str]) -> tuple[str, str]:
    """A field's name as it is shown, and as it compares."""
    return _usual_name(name) if len(name) <= 100 else (scrub(name, hide)[:100], name.casefold())


@lru_cache(maxsize=1024)
def _usual_name(name: str) -> tuple[str, str]:
    return scrub(name)[:100], name.casefold()


def _masked_field(folded: str, value: Any, hide: Callable[[str], str], depth: int, personal: bool) -> Any:
    if folded in _SECRETS or (folded == "value" and isinstance(value, str) and len(value) > 20):
        return None if value is None else "***"
    return _masked(value, hide, depth=depth + 1, personal=(personal or folded in PEOPLE) and folded not in _TOLD)


class SecretMasker:
    """Masks what is recorded of a body, and in it our own secrets, should the provider repeat them.

    Args:
        secrets: gives what is secret at the moment, such as the token.
    """

    def __init__(self, secrets: Callable[[], Iterable[str]]) -> None:
        self._secrets = secrets

    def json(self, raw: Any, people: Iterable[str] = ()) -> str:
        """The JSON as people may see it, without these people, cut to MAX_RECORDED_TEXT characters."""
        # Cut last: a secret or a name that the cut goes through would not be found any more.
        most = 4 * MAX_RECORDED_TEXT
        text = masked(raw, most, lambda text: self.text(text, people))
        return self.text(text if len(text) < most else text[: text.rfind('"')], people)[:MAX_RECORDED_TEXT]

    def text(self, text: str, people: Iterable[str] = ()) -> str:
        """The text without our own secrets and these people."""
        for secret in self._secrets():
            for form in (secret, json.dumps(secret)[1:-1]):
                text = text.replace(form, "***") if len(form) >= 8 else text
        return without(text, people)
