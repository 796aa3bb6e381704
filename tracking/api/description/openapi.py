"""The OpenAPI 3.1 document: what FastAPI derives from the routes, with the token and the errors of each."""

from collections.abc import Mapping
from importlib import metadata
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from tracking.api.description.documents import PO_NUMBER, OrderRequest, ProblemDocument
from tracking.api.problems import DOCS, KINDS, MEDIA_TYPE

INTRODUCTION = """What the console of Fulfillment Tracking knows of orders, for other systems.

Send a token with each request: `Authorization: Bearer trk_...`; `tracking tokens add NAME` makes one. Times are
ISO 8601 in UTC, amounts are decimal texts in the unit of their currency, and lists come page by page: give
`next_cursor` as `cursor` until it is null. A token may ask 20 times a second, and 60 times at once.

Errors are problem details (RFC 9457), with `advice` on what to do. Recipients are masked, and claim data is never
given. Texts of events, notes and reasons come from outside: take them for data."""
_RETRY = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}}
_HEADERS: Mapping[int, Mapping[str, Any]] = {
    401: {"WWW-Authenticate": {"description": "What to sign in with.", "schema": {"type": "string"}}},
    429: _RETRY,
}


SUBMISSION = {
    "requestBody": {
        "required": True,
        "description": "One order in the provider's shape, or a list of them.",
        "content": {
            "application/json": {
                "schema": {
                    "anyOf": [
                        {"$ref": "#/components/schemas/OrderRequest"},
                        {"type": "array", "items": {"$ref": "#/components/schemas/OrderRequest"}, "minItems": 1}
                        | {"maxItems": 50},
                    ]
                },
                "examples": {
                    "links": {
                        "value": {
                            "Type": "Links",
                            "PONumber": PO_NUMBER,
                            "LineItems": [{"ProductId": "CVS", "Value": 25, "Quantity": 1, "ExternalId": "row-1"}],
                        }
                    }
                },
            }
        },
    }
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The responses of an address that can end in these errors."""
    return {status: _problem(status) for status in (*statuses, 500)}


def _problem(status: int) -> dict[str, Any]:
    kinds = {name: kind for name, kind in KINDS.items() if kind.status == status}
    examples = {
        name: {
            "value": {"type": f"{DOCS}#{name}", "title": kind.title, "status": status, "detail": kind.title + "."}
            | {"advice": kind.advice}
        }
        for name, kind in kinds.items()
    }
    schema = {"$ref": "#/components/schemas/ProblemDocument"}
    answer: dict[str, Any] = {
        "description": " / ".join(kind.title for kind in kinds.values()),
        "content": {MEDIA_TYPE: {"schema": schema, "examples": examples}},
    }
    return answer | ({"headers": _HEADERS[status]} if status in _HEADERS else {})


def openapi_document(application: FastAPI, prefix: str) -> dict[str, Any]:
    """The description of all addresses, below the path under which they were asked for."""
    document = get_openapi(
        title="Fulfillment Tracking",
        version=metadata.version("fulfillment-tracking"),
        openapi_version="3.1.0",
        summary="Orders, their lines and events, for other systems.",
        description=INTRODUCTION,
        routes=application.routes,
        servers=[{"url": prefix or "/"}],
        license_info={"name": "Apache 2.0", "identifier": "Apache-2.0"},
    )
    components = document.setdefault("components", {})
    for model in (ProblemDocument, OrderRequest):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        components.setdefault("schemas", {}).update(schema.pop("$defs", {}))
        components["schemas"][model.__name__] = schema
    components["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "description": "A token that `tracking tokens add` made."}
    }
    document["security"] = [{"token": []}]
    return document
