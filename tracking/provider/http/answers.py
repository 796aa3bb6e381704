"""Reads answers: the body within a size limit, the JSON of a 2xx, and the error that another status means."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import httpx

from tracking import errors
from tracking.errors import ProviderError, UnreadableAnswer
from tracking.provider.http.intermediaries import describe_answer, is_page
from tracking.provider.http.recording import ApiCall
from tracking.provider.json_fields import charset_of, parse, parse_strictly
from tracking.provider.masking import SecretMasker, people_in
from tracking.provider.responses import names_problems, read_duplicate_ids, read_funds, read_problems

_T = TypeVar("_T")
MAX_ANSWER = 32 * 1024 * 1024
MAX_ERROR_BODY = 256 * 1024
PARSED_IN_A_THREAD = 256 * 1024


async def body_of(response: httpx.Response) -> bytes:
    """The whole body of a 2xx; of any other answer what there is of it, as its status says enough.

    Raises:
        UnreadableAnswer: it is too large. The connection is dropped with the rest.
    """
    limit = MAX_ANSWER if response.is_success else MAX_ERROR_BODY
    received = bytearray()
    try:
        async for piece in response.aiter_bytes():
            received += piece
            if len(received) > limit:
                break
    except httpx.HTTPError:
        if response.is_success:
            raise
    if len(received) > limit and response.is_success:
        raise UnreadableAnswer("the answer is too large", status=response.status_code)
    return bytes(received[:limit])


async def read_answer(call: ApiCall, body: bytes, read: Callable[[Any], _T], masker: SecretMasker) -> _T:
    """What `read` makes of the JSON of a 2xx; the JSON of any answer is masked for the record.

    Raises:
        UnreadableAnswer: a 2xx that is not what was asked for.
        ProviderError: what another status means.
    """
    status = call.status or 0
    if not httpx.codes.is_success(status):
        raise _error(call, status, body, masker)

    def parsed() -> tuple[Any, _T]:
        call.raw = raw = parse(body, charset_of(call.answer_headers.get("content-type", "")))
        return raw, read(raw)

    try:
        # A bulk order takes half a second to read; in a thread the receiver's answers do not wait for it.
        raw, result = parsed() if len(body) <= PARSED_IN_A_THREAD else await asyncio.to_thread(parsed)
    except UnreadableAnswer as exc:
        is_foreign = is_page(body, call.answer_headers.get("content-type", ""))
        raise UnreadableAnswer(_whose(call, body, masker) if is_foreign else str(exc), status=status) from exc
    if call.masked_answer is None and not call.confidential:
        call.masked_answer = masker.json(raw)
    return result


def _error(call: ApiCall, status: int, body: bytes, masker: SecretMasker) -> ProviderError:
    """What a status other than 2xx means. Its words come without our secrets and the people of the request.

    Only what has the provider's documented shape is its word: 400, 413 and 422 with problems or amounts. Where no body
    is documented (401, 403, 404, 5xx), none and any JSON object may be the provider's; a page or a text may not.
    """
    placing, people = call.document is not None, people_in(call.document)
    try:
        raw = parse_strictly(body, charset_of(call.answer_headers.get("content-type", "")))
    except UnreadableAnswer:
        raw = None
    call.raw = raw
    if raw is not None and not call.confidential:
        call.masked_answer = masker.json(raw, people)
    shaped = isinstance(raw, Mapping) or (raw is None and _is_bare(call, body))
    match status:
        case 401 if shaped:
            return errors.CredentialsRefused("the credentials were refused", status=status)
        case 403 if shaped:
            return errors.AccessDisabled("access to the API is disabled for the account", status=status)
        case 404 if call.optional or (shaped and not placing):
            return errors.NotFound("the provider does not know it", status=status)
        case 409 if placing and not is_page(body, call.answer_headers.get("content-type", "")):
            return errors.DuplicateOrder(read_duplicate_ids(raw))
        case 422 if placing and (funds := read_funds(raw)) != (None, None):
            return errors.InsufficientFunds(available=funds[0], cost=funds[1])
        case 400 | 413 | 422 if names_problems(raw):
            problems = read_problems(raw, lambda text: masker.text(text, people))
            return errors.RequestRejected("the provider rejects the request", status=status, problems=problems)
        case _ if (status >= 500 or status == 408) and shaped:
            return errors.OutcomeUnknown("the provider failed", status=status)
        case _:
            return errors.NotTheProvider(_whose(call, body, masker), status=status)


def _is_bare(call: ApiCall, body: bytes) -> bool:
    """Whether there is no body at all; the provider may answer so where no body is documented."""
    return not body.strip() and "html" not in call.answer_headers.get("content-type", "").lower()


def _whose(call: ApiCall, body: bytes, masker: SecretMasker) -> str:
    return describe_answer(call.status or 0, body, call.answer_headers, masker.text)


def foreign_pause(call: ApiCall, body: bytes, masker: SecretMasker) -> str | None:
    """Who asks to wait, where that is a page and so not the provider; None where it may be the provider."""
    return _whose(call, body, masker) if is_page(body, call.answer_headers.get("content-type", "")) else None
