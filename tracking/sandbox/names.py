"""Names of JSON fields: read in any case, written in the case the switches ask for.

Owns the dressing of every answer (case, numbers as strings, extra fields) and of timestamps; decides no contents.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from typing import Any

from tracking.sandbox.switches import Switches, Timestamps

_KNOWN = {
    name.lower(): name
    for name in re.findall(
        r"\w+",
        "Type LineItems PONumber Note Personalization WebhookSettings FulfillmentComplete PhotoUrl GreetingUrl "
        "ProductId Value Quantity ExternalId Culture Theme BrandingId DigitalDeliveryAddress Email Sms "
        "PhysicalDeliveryAddress ShippingMethodId Name AddressLine1 AddressLine2 AddressLine3 City State Zip Country "
        "CarrierId To FromName FromEmail Message DeliveryDate",
    )
}


def canonical(value: Any) -> Any:
    """The same JSON with every known name in PascalCase and every other name left out."""
    if isinstance(value, dict):
        known = ((_KNOWN.get(str(name).lower()), item) for name, item in value.items())
        return {name: canonical(item) for name, item in known if name}
    if isinstance(value, list):
        return [canonical(item) for item in value]
    return value


def dress(body: Any, switches: Switches) -> Any:
    """The body as this provider writes it. Untouched where no switch asks for anything."""
    plain = switches.name_case == "pascal" and not switches.numbers_as_strings and not switches.extra_fields
    return body if plain else _dressed(body, switches)


def _dressed(value: Any, switches: Switches) -> Any:
    if isinstance(value, dict):
        items = {**value, "SchemaRevision": 7, "Hints": {"Unheard": True}} if _is_record(value, switches) else value
        name = camel if switches.name_case == "camel" else str
        return {name(key): _dressed(item, switches) for key, item in items.items()}
    if isinstance(value, list):
        return [_dressed(item, switches) for item in value]
    if switches.numbers_as_strings and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value


def _is_record(value: Mapping[str, Any], switches: Switches) -> bool:
    return switches.extra_fields and bool(value.keys() & {"Id", "Data", "Available", "ExpiresIn"})


@lru_cache(maxsize=1024)
def camel(name: str) -> str:
    """PONumber becomes poNumber, Id becomes id."""
    return re.sub(r"^([A-Z]+(?=[A-Z][a-z])|[A-Z])", lambda found: found[0].lower(), name)


def us_timestamp(at: float) -> str:
    """Seconds since the epoch in the US form of the webhook, in UTC."""
    return f"{datetime.fromtimestamp(at, UTC):%m/%d/%Y %I:%M:%S %p}"


_FORMS: Mapping[Timestamps, Callable[[float], str]] = {
    "bare": lambda at: f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%S}",
    "zulu": lambda at: f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}",
    "offset": lambda at: datetime.fromtimestamp(int(at), timezone(timedelta(hours=-5))).isoformat(),
    "fraction": lambda at: f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%S.%f}0Z",
    "us": us_timestamp,
}


def timestamp(at: float, switches: Switches) -> str:
    """Seconds since the epoch as this provider writes them."""
    return _FORMS[switches.timestamps](at)


def parse_time(text: str) -> float | None:
    """Seconds since the epoch of an ISO date or time, UTC where no zone is given; None if it is neither."""
    try:
        moment = datetime.fromisoformat(text.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
