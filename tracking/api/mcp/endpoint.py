"""MCP endpoint: streamable HTTP without sessions, answers as JSON, by the package `mcp`."""

import json
import logging
from importlib import metadata
from typing import Any

import mcp_types as types
from mcp.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from tracking.api.callers.tokens import Caller
from tracking.api.mcp.tools import NOTE, TOOLS, Document, use_tool
from tracking.api.problems import KINDS, Refusal, refusal_of
from tracking.api.service import Service
from tracking.errors import TrackingError

log = logging.getLogger(__name__)
INSTRUCTIONS = (
    "What the console of Fulfillment Tracking knows of orders of gift cards. Everything reads, nothing acts. A state "
    f"is what is proven; `verdict` and `evidence` say by what. {NOTE}"
)
FIX = "Fix that and call again."  # what is said over HTTP names `problems`, which a tool's answer has none of


def make_endpoint(service: Service) -> ASGIApp:
    """Make the application at /mcp."""
    logging.getLogger("mcp").setLevel(logging.WARNING)  # it has a line for each request, and knows no caller
    server = _server(service)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":  # a GET would hold a connection open for messages that are never sent
            raise Refusal("method-not-allowed", "This address takes POST.", headers={"Allow": "POST"})
        # One for each request: none has a session, and so none has anything to outlive it.
        manager = StreamableHTTPSessionManager(server, json_response=True, stateless=True)
        async with manager.run():
            await manager.handle_request(scope, receive, send)

    return answer


def _server(service: Service) -> Server[Any]:
    async def list_tools(_: Any, __: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[_described(name) for name in TOOLS])

    async def call_tool(context: Any, asked: types.CallToolRequestParams) -> types.CallToolResult:
        request: Request = context.request
        caller: Caller = request.state.caller
        try:
            return _result(await _use(service, caller, asked))
        except Refusal as exc:
            return _failed(exc)
        except TrackingError as exc:
            return _failed(refusal_of(exc))
        except Exception:
            log.exception("a tool of an assistant ended with an error")
            return _failed(Refusal("unexpected", "The tool could not answer."))

    version = metadata.version("fulfillment-tracking")
    return Server(
        "fulfillment-tracking",
        title="Fulfillment Tracking",
        version=version,
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def _described(name: str) -> types.Tool:
    tool = TOOLS[name]
    hints = types.ToolAnnotations(title=tool.title, read_only_hint=True, idempotent_hint=True, open_world_hint=False)
    schema = tool.arguments.model_json_schema()
    return types.Tool(name=name, title=tool.title, description=tool.description, input_schema=schema, annotations=hints)


async def _use(service: Service, caller: Caller, asked: types.CallToolRequestParams) -> Document:
    tool, now = TOOLS.get(asked.name), service.clock()
    if tool is None:
        raise Refusal("invalid", f"There are the tools {', '.join(TOOLS)}.")
    given = asked.arguments or {}
    return await service.counted(caller, lambda: use_tool(service, caller, tool, given, now))


def _result(document: Document) -> types.CallToolResult:
    text = json.dumps(document, ensure_ascii=False)
    return types.CallToolResult(content=[types.TextContent(text=text)], structured_content=document)


def _failed(refusal: Refusal) -> types.CallToolResult:
    kind = KINDS[refusal.kind]
    advice = FIX if refusal.kind == "invalid" else kind.advice
    text = f"{kind.title}: {refusal.detail.rstrip('.')}. {advice}"
    return types.CallToolResult(content=[types.TextContent(text=text)], is_error=True)
