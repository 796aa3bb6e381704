"""Names of variables: finds those that are nearly a setting's, and those that have no effect."""

import difflib
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator

from dotenv.parser import Binding

from tracking.errors import Problem

# What Kubernetes and Docker put into the environment of each container beside a service that is called like us.
_SERVICE_LINK = re.compile(
    r"\w+_(SERVICE_HOST|SERVICE_PORT\w*|PORT_\d+_(TCP|UDP|SCTP)\w*)=.*|\w+_PORT=(tcp|udp|sctp)://.*"
)
# Read by other libraries, and from the environment alone.
_NOT_OURS = frozenset({"HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"})


def misspelt_names(names: Collection[str], prefix: str, fields: Collection[str]) -> Iterator[Problem]:
    """List the names that are nearly the prefix and a field. Those far from any may belong to another program."""
    for name in _unknown_names(names, prefix, fields):
        if near := _near(name[len(prefix) :].lower(), fields):
            yield Problem(name, f"is no setting; did you mean {prefix}{near[0].upper()}?")
    word = prefix.strip("_").lower()
    for name in sorted(names):
        if field := _behind_another_prefix(name.lower(), word, fields):
            yield Problem(name, f"is no setting; did you mean {prefix}{field.upper()}?")


def _behind_another_prefix(name: str, word: str, fields: Collection[str]) -> str | None:
    """The field behind what is nearly the prefix: misspelt, without its underscore, or with a dash in its place."""
    plain = re.sub(r"\W", "_", name)
    if plain.startswith(word):
        field = plain.removeprefix(word).lstrip("_")
        return field if field in fields and name != f"{word}_{field}" else None
    first, _, field = name.partition("_")
    return field if field in fields and difflib.get_close_matches(first, [word], cutoff=0.7) else None


def _near(name: str, fields: Collection[str]) -> list[str]:
    """The field that is spelt nearly so, else those that have all of several words of it."""
    words = set(name.split("_"))
    with_its_words = [field for field in fields if len(words) > 1 and words <= set(field.split("_"))]
    return difflib.get_close_matches(name, with_its_words or fields, 1, cutoff=0.8) or with_its_words


def names_without_effect(
    names: Collection[str], lines: Iterable[Binding], prefix: str, fields: Collection[str]
) -> Iterator[str]:
    """Say which names are not read, and which lines of `.env` not obeyed, where that may be meant so."""
    for name in _unknown_names(names, prefix, fields):
        yield f"{name} is no setting of this console and has no effect"
    for name, times in Counter((line.key or "").upper() for line in lines).items():
        if times > 1 and name.startswith(prefix):
            yield f"{name} is set {times} times in .env: the last one counts"
        if name in _NOT_OURS:
            yield f"{name} has no effect in .env: set it in the environment"


def _unknown_names(names: Iterable[str], prefix: str, fields: Collection[str]) -> list[str]:
    """List the names with the prefix that are no field; to set one to nothing is a way to say that it is not ours."""
    ours = (name for name in names if name.upper().startswith(prefix) and os.environ.get(name, "-").strip())
    unknown = (name for name in ours if name[len(prefix) :].lower() not in fields)
    return sorted(name for name in unknown if not _SERVICE_LINK.fullmatch(f"{name}={os.environ.get(name, '')}"))
