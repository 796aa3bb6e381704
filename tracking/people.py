"""Who acts, and whether they may. Pure; how somebody proves who they are is for the pages and the command line."""

from dataclasses import dataclass
from enum import StrEnum

from tracking.errors import NotPermitted


class Access(StrEnum):
    """What a person may do: viewers look, operators also act."""

    VIEWER = "viewer"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody at the screen or the command line. `name` goes into the log beside what they did."""

    name: str
    access: Access = Access.OPERATOR

    def must_operate(self) -> None:
        """Raises NotPermitted for everybody but operators; each act of a person calls it before anything is done.

        Whoever has no name is refused too: the log says of every act who it was.
        """
        if not self.name.strip():
            raise NotPermitted("nobody is named who does this; give a name first")
        if self.access is not Access.OPERATOR:
            raise NotPermitted(f"{self.name} is signed in as a viewer; only an operator may do this")
