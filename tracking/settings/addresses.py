"""Addresses in settings: of the provider, of this console, of the database, and of people."""

import ipaddress
import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import NoDecode

WEBHOOK_PATH = "/webhooks/fulfillment/"
MAX_WEBHOOK_ADDRESS = 500
SANDBOX = "sandbox"  # in place of the provider's address: the embedded sandbox
# Printable ASCII alone: outside of it are letters that turn into an ASCII one when their case is folded.
_HOST = re.compile(r"[\w-]+(\.[\w-]+)*\.?|[0-9a-f:.]*:[0-9a-f:.]+(%[\w.-]+)?")  # a name or an address, of IPv6 too
_CALL = re.compile(r"/v1/(tokens|orders|products|shippingmethods|carriers|accountbalance|status)\b", re.IGNORECASE)
_EMAIL = re.compile(r"(\*|[!-)+-?A-~]+)@[A-Za-z0-9.-]+")


def base_url(value: str | None) -> str | None:
    """Check an address that paths are put behind; without its slash at the end, None where it is blank.

    Raises ValueError without repeating it.
    """
    if value is None or not value.strip():
        return None
    address = value.strip().rstrip("/")
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"} or not _HOST.fullmatch(parts.hostname or "") or re.search(r"\s", address):
        raise ValueError("must be an absolute address such as https://host.example")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must hold no credentials, query or fragment")
    if not has_usable_port(value) or "//" in parts.path or not re.fullmatch(r"[\w./~%:@+,;=!$&'()*-]*", parts.path):
        raise ValueError("must be an address such as https://host.example:8443: its port or path cannot be right")
    if WEBHOOK_PATH.rstrip("/") in parts.path:
        raise ValueError(f"must end before {WEBHOOK_PATH}, which is put behind it for each order")
    return address


def provider_url(value: str | None) -> str | None:
    """The same for the provider's address, which is given without /v1, or as `sandbox`."""
    if value is not None and value.strip().lower() == SANDBOX:
        return SANDBOX
    address = base_url(value)
    if address and _CALL.search(address):
        raise ValueError("must end before /v1, which is put behind it for each call")
    return address and re.sub(r"/v1\Z", "", address, flags=re.IGNORECASE).rstrip("/")


def store_url(value: str) -> str:
    """Check the address of the store. Raises ValueError without repeating it: it may hold a password."""
    value = value.strip()
    if value.startswith("sqlite:///"):
        file = value.removeprefix("sqlite:///")
        if file in {"", ".", "/", ":memory:"} or file.endswith("/"):
            raise ValueError("must name a file, as in sqlite:///data/tracking.db")
        if "?" in file or file.startswith("~"):
            raise ValueError("must be the whole path of a file: neither ? nor ~ has a meaning here")
    elif not value.startswith("postgresql+psycopg://"):
        raise ValueError("must begin with sqlite:/// or postgresql+psycopg://")
    elif not has_usable_port(value) or urlsplit(value).netloc.count("@") > 1:
        raise ValueError("cannot be parsed: write @ : / ? # of a password as %40 %3A %2F %3F %23")
    return value


def read_people(value: Any) -> Any:
    """Split e-mail addresses, or *@example.com for all of a domain, at commas and lines; None where there is none."""
    if not isinstance(value, str):
        return value
    names = [name.strip().lower() for name in re.split(r"[,\r\n]", value) if name.strip()]
    if wrong := [name for name in names if not _EMAIL.fullmatch(name)]:
        each = "each must be an e-mail address, or *@example.com for all of a domain"
        raise ValueError(f"has {len(wrong)} of {len(names)} entries that cannot be used: {each}; comma separated")
    return names or None


IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
PRIVATE_NETWORKS = (
    *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "::1/128", "fc00::/7"),
)


def read_networks(value: Any) -> Any:
    """Read networks such as 10.0.0.0/8, or the word private for all private ones, separated by commas."""
    if not isinstance(value, str):
        return value
    words = [word.strip().lower() for word in value.split(",") if word.strip()]
    texts = [text for word in words for text in (PRIVATE_NETWORKS if word == "private" else (word,))]
    try:
        return tuple(ipaddress.ip_network(text) for text in texts)
    except ValueError as exc:
        raise ValueError("must be networks such as 10.0.0.0/8, or the word private; comma separated") from exc


Networks = Annotated[tuple[IpNetwork, ...], NoDecode, BeforeValidator(read_networks)]
BaseUrl = Annotated[str | None, AfterValidator(base_url)]
ProviderUrl = Annotated[str | None, AfterValidator(provider_url)]
StoreUrl = Annotated[str, AfterValidator(store_url)]
People = Annotated[frozenset[str] | None, NoDecode, BeforeValidator(read_people)]


def has_usable_port(address: str) -> bool:
    """Whether there is no port in the address, or one that can be."""
    try:
        return urlsplit(address.strip()).port != 0
    except ValueError:
        return False


def is_local_address(address: str) -> bool:
    """Whether the address is on this machine."""
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
