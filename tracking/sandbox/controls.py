"""The sandbox's own endpoints, which no provider has: the truth, orders from elsewhere, the scenario.

Owns nothing but their shapes. They ask for no token and must never be taken for the provider's API.
"""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tracking.sandbox.documents import truth_document
from tracking.sandbox.neighbours import Neighbours
from tracking.sandbox.routes import query, whole
from tracking.sandbox.scenarios import SCENARIOS
from tracking.sandbox.switches import NOTE_WORDS
from tracking.sandbox.world import World


class Controls:
    """What an operator of the sandbox asks it for."""

    def __init__(self, world: World, neighbours: Neighbours) -> None:
        self._world = world
        self._neighbours = neighbours

    def all(self) -> list[Route]:
        """The routing table."""
        return [
            Route("/sandbox/truth", self._truth, methods=["GET"]),
            Route("/sandbox/elsewhere", self._elsewhere, methods=["POST"]),
            Route("/sandbox/scenarios", self._scenarios, methods=["GET"]),
            Route("/sandbox/scenario", self._choose_scenario, methods=["PUT"]),
        ]

    def truth(self) -> list[dict[str, Any]]:
        """Every order there is, as it really stands."""
        now, ledger = self._world.clock(), self._world.ledger
        with ledger.transaction():
            orders, posts = ledger.find([], "number", -1, 0), ledger.posts()
            lines = self._world.lines(orders)
        return [truth_document(order, lines[order.number], posts.get(order.po_number, 0), now) for order in orders]

    async def _truth(self, _request: Request) -> Response:
        return JSONResponse(await asyncio.to_thread(self.truth))

    async def _elsewhere(self, request: Request) -> Response:
        count = whole(query(request).get("count", "1"))
        if count is None or not 1 <= count <= 1000:
            return JSONResponse({"error": "count must lie between 1 and 1000"}, 400)
        return JSONResponse({"po_numbers": self._neighbours.place(count, self._world.clock())}, 201)

    async def _scenarios(self, _request: Request) -> Response:
        shown = [{"name": scenario.name, "summary": scenario.summary} for scenario in SCENARIOS.values()]
        return JSONResponse({"current": self._world.scenario.name, "scenarios": shown, "note_words": dict(NOTE_WORDS)})

    async def _choose_scenario(self, request: Request) -> Response:
        try:
            self._world.switch_to(query(request).get("name", ""))
        except ValueError as problem:
            return JSONResponse({"error": str(problem)}, 404)
        return JSONResponse({"current": self._world.scenario.name})
