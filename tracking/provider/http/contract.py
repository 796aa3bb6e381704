"""The documented contract: fields, words, types and status codes of the provider's API. Pure.

Names count in any case, as they do where answers are read. What is not in here may be right all the same: it is
undocumented, no more.
"""

import functools
import re
from collections.abc import Mapping

from tracking.orders.model import LINE_STATUSES, PROVIDER_STATES, OrderType
from tracking.provider.webhook_bodies import FULFILLMENT_COMPLETE
from tracking.storage.team.sightings import Sighting

WEBHOOK = "webhook"
_ORDER = "GET /v1/Orders/{id}"
_PATHS = {"Tokens", "AccountBalance", "Products", "ShippingMethods", "Carriers", "Orders"}
_PATH = re.compile(r"/v1/(\w+)(/[^/]+)?")
# One line a field with its types; `types?` is a field that may be null. Fields of an entry of a list end in [].
_LINE = """
Id text|ProductId text|Value number|Quantity number|Status text|Cost number?|ExternalId text?|Culture text?|Theme text?
BrandingId text?|ClaimData list?|ClaimData[] object|ClaimData[].Id text|ClaimData[].ClaimLink text?
ClaimData[].ClaimLinkChallengeAnswer text?|ClaimData[].BarcodePath text?|ClaimData[].BarcodeChars text?
ClaimData[].BarcodeType text?|ClaimData[].Codes list?|ClaimData[].Codes[] object|ClaimData[].Codes[].Label text
ClaimData[].Codes[].Value text|DigitalDeliveryAddress object?|DigitalDeliveryAddress.Email text?
DigitalDeliveryAddress.Sms text?|PhysicalDeliveryAddress object?|PhysicalDeliveryAddress.ShippingMethodId text
PhysicalDeliveryAddress.CarrierId text?|PhysicalDeliveryAddress.Name text|PhysicalDeliveryAddress.AddressLine1 text
PhysicalDeliveryAddress.AddressLine2 text?|PhysicalDeliveryAddress.AddressLine3 text?|PhysicalDeliveryAddress.City text
PhysicalDeliveryAddress.State text|PhysicalDeliveryAddress.Zip text|PhysicalDeliveryAddress.Country text
Personalization object?|Personalization.To text|Personalization.FromName text|Personalization.FromEmail text?
Personalization.Message text?|Personalization.DeliveryDate text?
"""
_WHOLE_ORDER = """
Id text|Timestamp text|Status text|Type text|PONumber text|Note text?|LineItems list|LineItems[] object
Personalization object?|Personalization.PhotoUrl text?|Personalization.GreetingUrl text?|WebhookSettings object?
WebhookSettings.FulfillmentComplete text?
"""
_PRODUCT = """
Id text|Name text|Denominations list|Denominations[] number|DenominationType text|AvailableDeliveryTypes list
AvailableDeliveryTypes[] text|Type text|ShortDescription text?|LongDescription text?|Terms text?|Disclaimer text?
RedemptionNote text?|Cost object?|Cost.Fee number|Cost.DiscountPercentage number|Media object?|Media.Faceplates list?
Media.Faceplates[] object|Media.Faceplates[].Name text|Media.Faceplates[].Path text|Meta object?
Meta.ShippingConfiguration object?|Meta.ShippingConfiguration.FulfillmentGroup text?
Meta.ShippingConfiguration.HasRequiredCardCarriers boolean|CurrencyCode text|CultureCodes list?|CultureCodes[] text
Translations list?
"""
_ENVELOPE = "Data list|Data[] object|Page number|PageSize number|TotalCount number"
_SHIPPING_METHOD = "Id text|Carrier text|Description text|Cost number?"
_ERRORS = {
    "400": "Errors list|Errors[] object|Errors[].Property text|Errors[].Errors list|Errors[].Errors[] text",
    "409": "PONumber text|PreviousOrderIds list|PreviousOrderIds[] text",
    "422": "AvailableBalance number|OrderCost number",
}
_STATUSES = {"200", "401", "403", "429", "500", "504"}
_MORE_STATUSES = {
    _ORDER: {"404"},
    "POST /v1/Orders": {"201", "400", "409", "422"},
    "GET /v1/AccountBalance": {"404"},  # not offered
}
_STATES = frozenset(state.value.casefold() for state in PROVIDER_STATES)
_LINE_STATES = frozenset(map(str.casefold, LINE_STATUSES))
_ORDER_TYPES = frozenset(kind.value.casefold() for kind in OrderType)
_PRODUCT_WORDS = {
    "data[].type": frozenset({"digital", "physical"}),
    "data[].denominationtype": frozenset({"fixed", "variable", "variablenocents"}),
    "data[].availabledeliverytypes[]": _ORDER_TYPES,
}
_OPEN_WORDS = ("currencycode", "culture", "culturecodes[]", "carrier", "fulfillmentgroup", "property")


def endpoint_of(method: str, path: str) -> str:
    """The endpoint of a call, without what is a value in its path; "other" for none that is documented."""
    match = _PATH.fullmatch(path)
    if match is None or match[1] not in _PATHS:
        return "other"
    return f"{method} /v1/{match[1]}{'/{id}' if match[2] else ''}"


def is_documented(sighting: Sighting) -> bool:
    """Whether the contract names it."""
    endpoint, kind, place, value = sighting
    match kind:
        case "status":
            never = endpoint == "POST /v1/Orders" and value == "200"
            return not never and value in _STATUSES | _MORE_STATUSES.get(endpoint, set())
        case "content type":
            return value == "application/json"
        case "word":
            return _is_documented_word(endpoint, place.casefold(), value.casefold())
    types = _fields(endpoint).get(place.casefold())
    return types is not None and (kind == "field" or value in types)


def is_open(place: str) -> bool:
    """Whether the contract lists no words for this field, such as a currency, so that any may stand there."""
    return re.split(r"[. ]", place.casefold())[-1] in _OPEN_WORDS


def _is_documented_word(endpoint: str, place: str, word: str) -> bool:
    if is_open(place):
        return True
    if endpoint == WEBHOOK:
        return place == "action" and word == FULFILLMENT_COMPLETE.casefold()
    if endpoint == "GET /v1/Products":
        return word in _PRODUCT_WORDS.get(place, ())
    words = {"status": _STATES, "type": _ORDER_TYPES, "lineitems[].status": _LINE_STATES}
    return word in words.get(place.removeprefix("data[]."), ())


@functools.cache
def _fields(endpoint: str) -> Mapping[str, frozenset[str]]:
    """The documented fields of the endpoint's JSON, folded, with their types."""
    order = _parsed(_WHOLE_ORDER) | _parsed(_LINE, "LineItems[].")
    documents = {
        WEBHOOK: _parsed("Action text|OrderId text|PONumber text|Timestamp text"),
        "POST /v1/Tokens": _parsed("Value text|ExpiresIn number"),
        "GET /v1/AccountBalance": _parsed("Pending number|Available number"),
        "POST /v1/Orders": order,
        _ORDER: order,
        "GET /v1/Orders": _listed(order),
        "GET /v1/Products": _listed(_parsed(_PRODUCT)),
        "GET /v1/ShippingMethods": _listed(_parsed(_SHIPPING_METHOD)),
        "GET /v1/Carriers": _listed(_parsed("Id text|Name text?")),
    }
    fields = documents.get(endpoint, {}) | {"": frozenset({"object"})}
    if endpoint == "POST /v1/Orders":
        for status, specification in _ERRORS.items():
            fields |= _parsed(specification, f"{status} ") | {status: frozenset({"object"})}
    return fields


def _listed(fields: Mapping[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    return _parsed(_ENVELOPE) | {f"data[].{place}": types for place, types in fields.items()}


def _parsed(specification: str, before: str = "") -> dict[str, frozenset[str]]:
    fields = (entry.rpartition(" ") for entry in specification.strip().replace("\n", "|").split("|"))
    return {
        f"{before}{name}".casefold(): frozenset({kind.removesuffix("?"), *(["null"] if kind.endswith("?") else [])})
        for name, _, kind in fields
    }


def is_documented_name(name: str) -> bool:
    """Whether any documented field has this name, wherever it stands."""
    return name.casefold() in _names()


@functools.cache
def _names() -> frozenset[str]:
    endpoints = (WEBHOOK, "POST /v1/Tokens", "GET /v1/AccountBalance", "POST /v1/Orders", "GET /v1/Products")
    places = (place for endpoint in endpoints for place in _fields(endpoint))
    return frozenset(part.removesuffix("[]") for place in places for part in re.split(r"[. ]", place))


def above(sighting: Sighting) -> Sighting | None:
    """What it stands in: the field of a type or word, the object or list of a field. None for an answer as a whole."""
    endpoint, kind, place, _ = sighting
    if kind in {"type", "word"}:
        return Sighting(endpoint, "field", place, "")
    if kind != "field" or not place or place.isdigit():
        return None
    if place.endswith("[]"):
        return Sighting(endpoint, "field", place.removesuffix("[]"), "")
    cut = max(place.rfind("."), place.rfind(" "))
    return Sighting(endpoint, "field", place[:cut] if cut > 0 else "", "")
