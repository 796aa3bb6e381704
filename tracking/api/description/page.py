"""HTML page of the API's description, made from the OpenAPI document as one file.

Without any script, so that nothing has to be let through its policy but its own style, by its digest; with a style of
its own, as no page of the console draws it.
"""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from tracking.api.problems import KINDS

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; padding: 1rem; max-width: 60rem; overflow-wrap: anywhere; }
h1 { font-size: 1.8rem; } h2 { font-size: 1.4rem; margin-top: 2.5rem; } h3 { font-size: 1.1rem; margin-top: 2rem; }
h3, dt { font-family: ui-monospace, monospace; }
dl { display: grid; grid-template-columns: minmax(8rem, 14rem) 1fr; gap: .3rem 1rem; }
dd { margin: 0; } pre { overflow-x: auto; padding: .75rem; border: 1px solid; border-radius: .4rem; }
code, pre { font-family: ui-monospace, monospace; font-size: .9em; }
nav ul { columns: 20rem; column-gap: 2rem; padding-left: 1.2rem; } section { border-top: 1px solid; margin-top: 2rem; }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; } dd { margin: 0 0 .5rem 1rem; } }
"""
_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'sha256-{_DIGEST}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_Object = Mapping[str, Any]


def docs_page(document: _Object) -> tuple[str, str]:
    """The page as HTML, and its Content-Security-Policy."""
    title = escape(document["info"]["title"])
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        f'<meta name="viewport" content="width=device-width"><title>API of {title}</title>',
        f"<style>{_STYLE}</style></head><body><main><h1>API of {title}</h1>",
        *_prose(document["info"]["description"]),
        *_contents(document),
        *_addresses(document),
        *_problems(),
        *_documents(document),
        "</main></body></html>",
    ]
    return "\n".join(parts), POLICY


def _prose(text: str) -> Iterator[str]:
    for paragraph in text.split("\n\n"):
        yield f"<p>{_with_code(paragraph)}</p>"


def _with_code(text: str) -> str:
    """The text, with what stands between backticks as code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if at % 2 else part for at, part in enumerate(parts))


def _operations(document: _Object) -> Iterator[tuple[str, str, _Object]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def _contents(document: _Object) -> Iterator[str]:
    yield '<nav aria-label="Contents"><ul>'
    yield '<li><a href="openapi.json">openapi.json</a> (OpenAPI 3.1)</li>'
    for method, path, operation in _operations(document):
        yield f'<li><a href="#{escape(operation["operationId"])}">{method} {escape(path)}</a></li>'
    yield '<li><a href="#errors">Errors</a></li><li><a href="#documents">Documents</a></li></ul></nav>'


def _addresses(document: _Object) -> Iterator[str]:
    yield "<h2>Addresses</h2>"
    for method, path, operation in _operations(document):
        yield f'<section><h3 id="{escape(operation["operationId"])}">{method} {escape(path)}</h3>'
        yield from _prose(operation.get("description", ""))
        yield from _parameters(operation)
        yield "<dl>"
        for status, answer in operation["responses"].items():
            yield f"<dt>{escape(status)}</dt><dd>{_answer(answer)}</dd>"
        yield "</dl></section>"


def _parameters(operation: _Object) -> Iterator[str]:
    if body := operation.get("requestBody"):
        content = next(iter(body["content"].values()))
        yield f"<p>Body: {_type(content['schema'])}. {_with_code(body.get('description', ''))}</p>"
        for each in content.get("examples", {}).values():
            yield _example(each["value"])
    if parameters := operation.get("parameters"):
        yield "<dl>"
        for each in parameters:
            where = "" if each["in"] == "query" else f"{each['in']}; "
            text = _with_code(each.get("description", ""))
            yield f"<dt>{escape(each['name'])}</dt><dd>{text} <small>({where}{_type(each['schema'])})</small></dd>"
        yield "</dl>"


def _answer(answer: _Object) -> str:
    schemas = [content.get("schema", {}) for content in answer.get("content", {}).values()]
    of = f": {', '.join(map(_type, schemas))}" if schemas else ""
    return f"{_with_code(answer['description'])}{of}"


def _type(schema: _Object) -> str:
    """A schema in a few words, documents as links."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"] if each.get("type") != "null")
    if "enum" in schema:
        return "one of " + ", ".join(f"<code>{escape(str(word))}</code>" for word in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    limits = [words.format(schema[name]) for name, words in _LIMITS.items() if name in schema]
    usual = [f"usually {schema['default']}"] if schema.get("default") not in {None, ""} else []
    return escape(", ".join([str(schema.get("format") or schema.get("type", "anything")), *limits, *usual]))


_LIMITS = {"minimum": "from {}", "maximum": "to {}", "maxLength": "up to {} characters", "pattern": "like {}"}


def _problems() -> Iterator[str]:
    yield '<h2 id="errors">Errors</h2><dl>'
    for name, kind in KINDS.items():
        yield f'<dt id="{name}">{name}</dt><dd>{kind.status}: {escape(kind.title)}. {_with_code(kind.advice)}</dd>'
    yield "</dl>"


def _documents(document: _Object) -> Iterator[str]:
    yield '<h2 id="documents">Documents</h2>'
    for name, schema in document["components"]["schemas"].items():
        yield f'<section><h3 id="{escape(name)}">{escape(name)}</h3>'
        yield from _prose(schema.get("description", ""))
        if "enum" in schema:
            yield f"<p>{_type(schema)}</p>"
        yield "<dl>"
        for member, of in schema.get("properties", {}).items():
            text, null = _with_code(of.get("description", "")), ", or null" if _may_be_null(of) else ""
            yield f"<dt>{escape(member)}</dt><dd>{text} <small>({_type(of)}{null})</small></dd>"
        yield "</dl></section>"


def _may_be_null(schema: _Object) -> bool:
    return any(each.get("type") == "null" for each in schema.get("anyOf", ()))


def _example(value: Any) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2))}</pre>"
