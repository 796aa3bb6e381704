"""Recognizes what answered in place of the provider: a firewall, a sign-in page, a proxy's error. Pure.

Names kinds and the headers Server and Via, cut and with all but plain letters removed; never repeats a body, an address
or a name from within one.
"""

import re
from collections.abc import Callable, Mapping

SEARCHED = 64 * 1024
LONGEST_NAME = 60
_UNPLAIN = re.compile(r"[^\w ./()\-]", re.ASCII)
# The first that fits names the page: what blocks a call often asks to sign in as well, or tells of maintenance.
_PAGES: tuple[tuple[str, re.Pattern[bytes]], ...] = (
    (
        "a firewall's page",
        re.compile(
            rb"firewall|\bwaf\b|request (?:was )?(?:blocked|rejected)|access (?:was |is |has been )?(?:denied|blocked)"
            rb"|(?:have been|were|was|been|is) blocked|incident id|support id|\bray id\b|attention required|captcha"
            rb"|security (?:policy|check|service|rule)|mod_security|not acceptable|incapsula|imperva|akamai|cloudflare"
            rb"|unusual traffic|malicious"
        ),
    ),
    (
        "a maintenance page",
        re.compile(rb"maintenance|(?:be|are|come) (?:right )?back|temporarily (?:un|off|down)|scheduled downtime"),
    ),
    (
        "a sign-in page",
        re.compile(rb"captive|hotspot|<form|\blog ?[io]n\b|\bsign[ -]?in\b|single sign|accept the terms|password"),
    ),
)
_NOT_PRESENTED = {407: "a proxy's demand to sign in", 511: "a sign-in page"}


def is_page(body: bytes, content_type: str) -> bool:
    """Whether a body is a page for people, or any other markup, and no JSON."""
    return "html" in content_type.lower() or body[:SEARCHED].lstrip(b"\xef\xbb\xbf \t\r\n\x00").startswith(b"<")


def named_page(body: bytes) -> str | None:
    """Which page it is that no program answers with: a firewall's, of maintenance, for a sign-in; None for none."""
    text = body[:SEARCHED].lower()
    named = (name for name, words in _PAGES if words.search(text))
    return next(named, None) if is_page(body, "") else None


def describe_answer(status: int, body: bytes, headers: Mapping[str, str], hide: Callable[[str], str] = str) -> str:
    """What came in place of the provider's answer, in words.

    Args:
        status: the HTTP status.
        body: the body, or the beginning of it.
        headers: of the answer, found whatever the case of their names.
        hide: masks our secrets in what the headers say.
    """
    sources = [
        f"{name.capitalize()}: {text}" for name in ("server", "via") if (text := _plain(headers.get(name), hide))
    ]
    where = ", ".join([f"status {status}", *sources])
    return f"{_kind(status, body, headers.get('content-type', ''))} came instead of the provider's answer ({where})"


def _kind(status: int, body: bytes, content_type: str) -> str:
    text = body[:SEARCHED].lower()
    if status in _NOT_PRESENTED:
        return _NOT_PRESENTED[status]
    # A JSON body may hold any of these words as well, and is no page.
    if is_page(body, content_type) or (text.strip() and not text.lstrip().startswith((b"{", b"[", b'"'))):
        named = next((name for name, words in _PAGES if words.search(text)), None)
        if named is not None:
            return named
    if 300 <= status < 400:
        return "a redirect"
    if is_page(body, content_type):
        return "an HTML page"
    if not text.strip():
        return "an empty answer"
    return "JSON of another shape" if text.lstrip().startswith((b"{", b"[")) else "a text"


def _plain(value: str | None, hide: Callable[[str], str]) -> str:
    return " ".join(_UNPLAIN.sub(" ", hide(value or "")).split())[:LONGEST_NAME]
