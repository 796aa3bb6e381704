"""Secrets that can be recognized wherever they turn up, and a provider that repeats them wherever it can.

Whatever is made up here carries a word that stands nowhere else, so that one search finds all that got out.
"""

import itertools
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import httpx
from cryptography.fernet import Fernet

from tracking.orders.model import OrderRequest
from tracking.submissions.requests import read_request
from tracking.webhooks.addresses import TOKEN_LENGTH

WORD = "kanari"
# What happens to the orders, beside what the scenario has in store for them.
NOTES = ("[instant]", "[timeout]", "[rotating-claims] [instant]", "[insufficient-funds]", "[short-claims]")
PHONE = "+155501{:05d}"
CLAIMS = frozenset({"claim", "answer", "code", "barcode"})
PEOPLE = frozenset({"email", "phone", "name", "street", "city"})
_MARKED = re.compile(rf"{WORD}[-_ .]?([a-z]*)", re.IGNORECASE)
_PHONES = re.compile(re.escape("155501") + r"\d{5}")
_ADDRESS = re.compile(rb"/webhooks/fulfillment/([\w-]{%d})" % TOKEN_LENGTH)
_CLAIM_FIELDS = {"ClaimLink": "claim", "ClaimLinkChallengeAnswer": "answer", "BarcodePath": "barcode"}


@dataclass
class Canaries:
    """The secrets of one run: those made up by name, and those that were only seen on their way."""

    key: str = field(default_factory=lambda: Fernet.generate_key().decode())
    seen: dict[str, set[str]] = field(default_factory=dict)
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    def new(self, kind: str) -> str:
        """A secret of this kind that nobody had before."""
        return f"{WORD}-{kind}-{next(self.numbers)}"

    def saw(self, kind: str, *secrets: str) -> None:
        """These went by: from now on they must not be found anywhere."""
        self.seen.setdefault(kind, set()).update(secrets)

    def leaks(self, text: str, *, but: Iterable[str] = ()) -> set[str]:
        """The kinds of secrets in the text."""
        # What the search looks through holds streets in the short form in which they compare.
        found = {"street" if kind.lower() == "st" else kind.lower() for kind in _MARKED.findall(text)}
        found |= {"phone"} if _PHONES.search(text) else set()
        found |= {kind for kind, secrets in self.seen.items() if any(secret in text for secret in secrets)}
        return found - set(but)


def request(canaries: Canaries, number: int) -> OrderRequest:
    """An order of any type whose recipient is made of canaries."""
    kind = ("Links", "DigitalDelivery", "PhysicalShipment", "Codes")[number % 4]
    line: dict[str, Any] = {"ProductId": "CVS", "Value": 25, "Quantity": 1 + number % 3, "ExternalId": f"row-{number}"}
    match kind:
        case "DigitalDelivery":
            phone = {"Sms": PHONE.format(number)}
            mail = {"Email": f"{canaries.new('email')}@example.com"}
            line["DigitalDeliveryAddress"] = phone if number % 8 == 1 else mail | phone
            line["Personalization"] = {"To": canaries.new("name"), "FromName": canaries.new("name")}
        case "PhysicalShipment":
            line["ProductId"] = "CVSCARD"
            line["PhysicalDeliveryAddress"] = {
                "ShippingMethodId": "STANDARD",
                "Name": canaries.new("name"),
                "AddressLine1": canaries.new("street"),
                "City": canaries.new("city"),
                "State": "IL",
                "Zip": "62701",
                "Country": "US",
            }
    return read_request({"Type": kind, "PONumber": f"C-{number:05d}", "Note": NOTES[number % 5], "LineItems": [line]})


class Gossip(httpx.AsyncBaseTransport):
    """A provider whose claim data is made of canaries, and whose errors repeat the whole request, headers included."""

    def __init__(self, provider: httpx.AsyncBaseTransport, canaries: Canaries) -> None:
        self._provider, self._canaries = provider, canaries
        self._renamed: dict[str, str] = {}
        self._errors = itertools.count()

    async def handle_async_request(self, asked: httpx.Request) -> httpx.Response:
        body = await asked.aread()
        self._note(asked, body)
        refused = next(self._errors) % 2 if b'"C-0001' in body else 0
        answer = self._echo(400, asked, body) if refused else await self._provider.handle_async_request(asked)
        if answer.status_code in {401, 422, 500, 504}:
            return self._echo(answer.status_code, asked, body)
        try:
            document = json.loads(await answer.aread())
        except ValueError:
            return answer
        return httpx.Response(answer.status_code, headers=_plain(answer.headers), json=self._renew(document))

    def _note(self, asked: httpx.Request, body: bytes) -> None:
        if authorization := asked.headers.get("Authorization"):
            self._canaries.saw("bearer", authorization.removeprefix("Bearer "))
        for token in _ADDRESS.findall(body):
            self._canaries.saw("address", token.decode())

    def _echo(self, status: int, asked: httpx.Request, body: bytes) -> httpx.Response:
        told = " ".join([*map(str, asked.headers.items()), body.decode()])
        if next(self._errors) % 3 == 0:
            return httpx.Response(status, html=f"<html>{told}</html>")
        words = [word for word in re.findall(r'"([^"]{3,})"', body.decode()) if WORD in word or word.startswith("+")]
        errors = [f"{word} is not what it should be" for word in words] or ["wrong"]
        listed = [{"Property": f"LineItems[0].{words[0] if words else 'x'}", "Errors": errors}]
        return httpx.Response(status, json={"Message": told, "Errors": listed, "Request": told, "AvailableBalance": 1})

    def _renew(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._renew(entry) for entry in value]
        if not isinstance(value, dict):
            return value
        return {name: self._claim(name, entry) for name, entry in value.items()}

    def _claim(self, name: str, value: Any) -> Any:
        if name in _CLAIM_FIELDS and isinstance(value, str):
            return f"https://claim.example.com/v/{self._instead(_CLAIM_FIELDS[name], value)}"
        if name == "BarcodeChars":
            return self._instead("code", str(value))
        if name == "Codes" and isinstance(value, list):
            return [code | {"Value": self._instead("code", code["Value"])} for code in value]
        return self._renew(value)

    def _instead(self, kind: str, value: str) -> str:
        """The same canary for the same value, so that only what rotates looks rotated."""
        if value not in self._renamed:
            self._renamed[value] = self._canaries.new(kind)
            self._canaries.saw(kind, self._renamed[value])
        return self._renamed[value]


def _plain(headers: httpx.Headers) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name not in {"content-length", "content-type"}}
