"""Targets: which URLs and IP addresses deliveries may be sent to. Pure.

Only https, and no address of a private network or of this machine, however it is written or wrapped, unless
TRACKING_HOOKS_ALLOW names its network. Plain http leads to this machine alone, where that is allowed.
"""

import ipaddress
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
LONGEST_URL = 1000
# 64:ff9b::/96 leads to the IPv4 address in its last 32 bits, and ::/96 once did.
_WRAPS_IPV4 = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "::/96")))
# Not on the public internet either, which not every Python says: protocols' own, relays' and examples' addresses, and
# what was for one site before there were unique local addresses.
_NOT_PUBLIC = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24", "fec0::/10", "3fff::/20")))
_LOOKS_LIKE_A_NUMBER = re.compile(r"(?:0[xX][0-9a-fA-F]*|[0-9]+)")


class TargetRefused(ValueError):
    """The address may not be sent to; the message says why, and repeats nothing of a query."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL in parts: `host` in ASCII without a dot at its end, `path` with its query."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """What the header Host carries."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The whole URL, in its one form."""
        return f"{self.scheme}://{self.authority}{self.path}"


_PORTS = {"https": 443, "http": 80}


def read_url(text: str, allowed: Iterable[IpNetwork] = ()) -> Target:
    """Read a URL that events may be sent to. Raises TargetRefused."""
    address = text.strip()
    if len(address) > LONGEST_URL or not address.isprintable() or " " in address or "\\" in address:
        raise TargetRefused(f"must be one address of at most {LONGEST_URL:,} characters, without spaces")
    try:
        parts, port = urlsplit(address), urlsplit(address).port
    except ValueError as exc:
        raise TargetRefused("cannot be read: write https://host.example/path") from exc
    if parts.scheme not in _PORTS or not parts.hostname:
        raise TargetRefused("must begin with https:// and name a host")
    if parts.username is not None or parts.password is not None:
        raise TargetRefused(
            "must hold no credentials: they would be stored as they are; the signature proves who sends"
        )
    if parts.fragment:
        raise TargetRefused("must hold no part behind #, which no receiver gets")
    if port == 0:
        raise TargetRefused("must not name port 0")
    host = _host(parts.hostname)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not path.isascii():
        raise TargetRefused("must hold ASCII alone behind the host: write other letters as %C3%A4")
    target = Target(parts.scheme, host, port or _PORTS[parts.scheme], path)
    if (literal := _literal(host)) is not None:
        check_ip(literal, target.scheme, allowed)
    elif target.scheme == "http" and not any(network.is_loopback for network in allowed):
        raise TargetRefused("must begin with https://: what is sent is signed, and not encrypted")
    return target


def _host(name: str) -> str:
    """The host in ASCII: an address of four numbers or of IPv6, or a name; never one number, or numbers with zeros."""
    if ":" in name:
        if "%" in name:
            raise TargetRefused("must not name a network interface")
        try:
            return ipaddress.IPv6Address(name).compressed
        except ValueError as exc:
            raise TargetRefused("must name a host: its IPv6 address cannot be read") from exc
    host = _ascii(name).rstrip(".").lower()
    if not host:
        raise TargetRefused("must name a host")
    if _LOOKS_LIKE_A_NUMBER.fullmatch(host.rpartition(".")[2]):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError as exc:
            raise TargetRefused("must write an IPv4 address as four numbers without zeros in front") from exc
    return host


def _ascii(name: str) -> str:
    """The name as DNS has it: letters of any language, and dots and digits that only look like ours, in ASCII."""
    import idna  # noqa: PLC0415 - its tables are read at its first use, not at a start

    numeric = set(name) <= set("0123456789abcdefxABCDEFX.")
    try:
        return name if numeric else idna.encode(name, uts46=True).decode()
    except idna.IDNAError as exc:
        raise TargetRefused("must name a host: its name is not one that DNS can hold") from exc


def _literal(host: str) -> IpAddress | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def check_ip(address: IpAddress, scheme: str, allowed: Iterable[IpNetwork]) -> None:
    """Check the address that is connected to, and each that it wraps. Raises TargetRefused."""
    allowed = tuple(allowed)
    for each in _unwrapped(address):
        permitted = any(each in network for network in allowed if network.version == each.version)
        if not permitted and not _is_public(each):
            raise TargetRefused(
                f"leads to {address}, which is not public: TRACKING_HOOKS_ALLOW says what is sent to all the same"
            )
    if scheme == "http" and not any(each.is_loopback for each in _unwrapped(address)):
        raise TargetRefused("must begin with https://: http is for this machine alone")


def _unwrapped(address: IpAddress) -> Iterator[IpAddress]:
    """The address that a packet goes to: of one that wraps others, those; else itself."""
    if isinstance(address, ipaddress.IPv4Address):
        yield address
        return
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
        return
    yield address
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if any(address in network for network in _WRAPS_IPV4) and not address.is_loopback and not address.is_unspecified:
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)


def _is_public(address: IpAddress) -> bool:
    special = address.is_multicast or address.is_reserved or address.is_unspecified
    return address.is_global and not special and not any(address in network for network in _NOT_PUBLIC)
