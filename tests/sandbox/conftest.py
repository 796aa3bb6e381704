"""A desk from which the sandbox is used in process: its clock stands still until a test moves it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tracking.sandbox.server import Sandbox

START = 1_800_000_000.0  # 2027-01-15 08:00:00 UTC


class Desk:
    """Starts sandboxes on one file, calls them, and owns the time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = START
        self.slept: list[float] = []
        self.sandbox: Sandbox | None = None
        self.token = ""
        self.token_at = 0.0

    def start(self, scenario: str = "normal", **settings: Any) -> Sandbox:
        """A sandbox on the desk's file; the one before is stopped, as in a restart."""
        self.stop()
        self.token = ""
        settings = {"clock": lambda: self.now, "sleep": self.sleep, **settings}
        self.sandbox = Sandbox(self.path, scenario=scenario, **settings)
        return self.sandbox

    def stop(self) -> None:
        if self.sandbox is not None:
            self.sandbox.close()
        self.sandbox = None

    async def sleep(self, seconds: float) -> None:
        """Take no time, but remember how much was asked for."""
        self.slept.append(seconds)
        await asyncio.sleep(0)

    def client(self) -> httpx.AsyncClient:
        assert self.sandbox is not None
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.sandbox.app), base_url="http://sandbox.example.com")

    def raw(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One call, without a token."""

        async def call() -> httpx.Response:
            async with self.client() as client:
                return await client.request(method, path, **options)

        return asyncio.run(call())

    def login(self) -> httpx.Response:
        """A new token, used for the calls to come."""
        credentials = {"Email": "sandbox@example.com", "AccessToken": "sandbox"}
        response = self.raw("POST", "/v1/Tokens", headers=credentials)
        self.token_at = self.now
        if response.status_code == 200:
            self.token = next(value for name, value in response.json().items() if name.lower() == "value")
        return response

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One call with a token, a new one where none lives."""
        if not self.token or self.now > self.token_at + 3000:
            self.login()
        return self.raw(method, path, headers={"Authorization": f"Bearer {self.token}"}, **options)

    def get(self, path: str, **query: Any) -> httpx.Response:
        return self.call("GET", f"/v1/{path}", params=query)

    def post(self, body: Any) -> httpx.Response:
        return self.call("POST", "/v1/Orders", json=body)

    def post_or_break(self, body: Any) -> httpx.Response | None:
        """The response to a POST, or None where the connection broke."""
        try:
            return self.post(body)
        except ConnectionResetError:
            return None

    def insist(self, po_number: str) -> str:
        """POST as a tolerant client does until there is an answer: placed, conflict, refused or lost."""
        for _ in range(12):
            self.now += 30
            response = self.post_or_break(self.order(po_number, lines=2, Quantity=1))
            status = response.status_code if response is not None else None
            if response is not None and status == 201 and "id" in self.fields(response):
                return "placed"
            if status in {409, 422}:
                return "conflict" if status == 409 else "refused"
            if status == 401:
                self.token = ""
        return "lost"

    @staticmethod
    def fields(response: httpx.Response) -> dict[str, Any]:
        """The JSON object of a response with its names in lower case, or nothing."""
        try:
            body = response.json()
        except ValueError:
            return {}
        return {name.lower(): value for name, value in body.items()} if isinstance(body, dict) else {}

    def place(self, po_number: str, **options: Any) -> dict[str, Any]:
        """Place an order that is expected to be accepted; the answer."""
        response = self.post(self.order(po_number, **options))
        assert response.status_code == 201, response.text
        order: dict[str, Any] = response.json()
        return order

    def read(self, order: dict[str, Any], *, after: float = 0) -> dict[str, Any]:
        """The order as it is read so many seconds later."""
        self.now += after
        response = self.get(f"Orders/{order['Id']}")
        assert response.status_code == 200, response.text
        current: dict[str, Any] = response.json()
        return current

    @staticmethod
    def order(
        po_number: str,
        *,
        kind: str = "Links",
        lines: int = 1,
        note: str | None = None,
        hook: str | None = None,
        **line: Any,
    ) -> dict[str, Any]:
        """A valid request, unless `line` says otherwise."""
        item: dict[str, Any] = {"ProductId": "CVS", "Value": 10, "Quantity": 1}
        if kind == "DigitalDelivery":
            item["DigitalDeliveryAddress"] = {"Email": "ada@example.com"}
        if kind == "PhysicalShipment":
            item["ProductId"] = "CVSCARD"
            item["PhysicalDeliveryAddress"] = {
                "ShippingMethodId": "STANDARD",
                "Name": "Ada Ash",
                "AddressLine1": "1 Example Street",
                "City": "Springfield",
                "State": "IL",
                "Zip": "62701",
                "Country": "US",
            }
        item.update(line)
        items = [{**item, "ExternalId": f"row-{index + 1}"} for index in range(lines)]
        body: dict[str, Any] = {"Type": kind, "PONumber": po_number, "LineItems": items}
        if note is not None:
            body["Note"] = note
        if hook is not None:
            body["WebhookSettings"] = {"FulfillmentComplete": hook}
        return body


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path / "sandbox.db")
    yield desk
    desk.stop()
