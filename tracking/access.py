"""Access control: who acts, and whether they may. Pure; pages and the command line find out who it is."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from tracking.errors import NotAdmitted, NotPermitted

# One @, so that it is clear which domain it is, and printable ASCII around it: outside of that are letters that become
# an ASCII one in lower case, and with it somebody else's address.
_ADDRESS = re.compile(r"[!-?A-~]+@[A-Za-z0-9.-]+")


class Access(StrEnum):
    """The role of a person: viewers look, operators also act."""

    VIEWER = "viewer"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody at the screen or the command line. `name` goes into the log beside what they did.

    `signed_in`: a sign-in proves the name; else somebody gave it as theirs.
    """

    name: str
    access: Access = Access.OPERATOR
    signed_in: bool = False

    def must_operate(self) -> None:
        """Raise NotPermitted for all but operators with a name; each act of a person calls it first."""
        if not self.name.strip():
            raise NotPermitted("no name is given; enter your name first")
        if self.access is not Access.OPERATOR:
            raise NotPermitted(f"{self.name} is signed in as a viewer; only an operator may do this")


@dataclass(frozen=True, slots=True)
class AllowList:
    """The allow list of sign-ins: who is admitted, and as what."""

    operators: frozenset[str] = frozenset()  # e-mail addresses in lower case, or *@example.com for all of a domain
    viewers: frozenset[str] = frozenset()  # the same; whoever is also an operator is an operator
    sign_in_lifetime: timedelta = timedelta(hours=12)  # for how long a sign-in counts
    trust_unverified: bool = False  # whether an address counts that the provider does not say was verified

    def admit(self, claims: Mapping[str, Any], now: datetime) -> Person:
        """Admit the person whom the provider's ID token names, by its claims of OpenID Connect Core 1.0.

        Raises NotAdmitted where they do not prove an address, are too old, or the address is on no list.
        """
        address = self._proven_address(claims)
        issued_at = claims.get("iat")
        if isinstance(issued_at, bool) or not isinstance(issued_at, int | float):
            raise NotAdmitted("the provider does not say when you signed in; sign in again")
        if now - datetime.fromtimestamp(issued_at, UTC) >= self.sign_in_lifetime:
            hours = self.sign_in_lifetime.total_seconds() / 3600
            raise NotAdmitted(f"you signed in more than {hours:g} hours ago; sign in again")
        return Person(address, self._access(address), signed_in=True)

    def _proven_address(self, claims: Mapping[str, Any]) -> str:
        address = str(claims.get("email") or "").strip()
        if not _ADDRESS.fullmatch(address):
            raise NotAdmitted("the sign-in provider sent no usable e-mail address for you")
        address = address.lower()
        # Some providers send the word instead of the JSON value.
        match str(claims.get("email_verified", "unstated")).lower():
            case "true":
                return address
            case "unstated" if self.trust_unverified:
                return address
            case "unstated":
                raise NotAdmitted(f"the provider does not say whether {address} was verified")
            case _:
                raise NotAdmitted(f"the provider says that {address} was not verified")

    def _access(self, address: str) -> Access:
        domain_wildcard = f"*@{address.partition('@')[2]}"
        for access, names in ((Access.OPERATOR, self.operators), (Access.VIEWER, self.viewers)):
            if address in names or domain_wildcard in names:
                return access
        raise NotAdmitted(f"your address {address} is on neither the list of operators nor that of viewers")
