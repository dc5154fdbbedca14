"""Configurations whose routes take paths, and a client that sends and takes whatever stands there."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

from tests.conformance.configuration import Configuration

Pairs = Sequence[tuple[str, str]]


def proxied(
    *addresses: str,
    prefix: str = "/",
    route: Mapping[str, Any] | None = None,
    service: Mapping[str, Any] | None = None,
    upstream: Mapping[str, Any] | None = None,
    **others: Any,
) -> Configuration:
    """All paths under a prefix to one pool of these endpoints. The mappings add fields, `others` resources."""
    endpoints = [{"address": address} for address in addresses]
    target = {"upstream": "pool", "schema": "PASSTHROUGH"}
    match = {"path": {"prefix": prefix}}
    return {
        "upstreams": [{"name": "pool", "endpoints": endpoints, **(upstream or {})}],
        "services": [{"name": "web", "upstream_service": target, **(service or {})}],
        "routes": [{"name": "all", "match": match, "backends": [{"service": "web"}], **(route or {})}],
        **others,
    }


def first_then(*addresses: str, **fields: Any) -> Configuration:
    """The same, but each endpoint is for what fails on those before it."""
    endpoints = [{"address": address, "priority": number} for number, address in enumerate(addresses)]
    return proxied(**{**fields, "upstream": {"endpoints": endpoints, **fields.get("upstream", {})}})


def several_services(route: Mapping[str, Any], **addresses: str) -> Configuration:
    """One service and one pool of its own per address, and a route that takes everything."""
    return {
        "upstreams": [{"name": name, "endpoints": [{"address": address}]} for name, address in addresses.items()],
        "services": [
            {"name": name, "upstream_service": {"upstream": name, "schema": "PASSTHROUGH"}} for name in addresses
        ],
        "routes": [{"name": "all", "match": {"path": {"prefix": "/"}}, **route}],
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxiedAnswer:
    """A whole answer as the client gets it; header names in lower case."""

    status: int
    headers: Pairs
    body: bytes

    def values(self, name: str) -> list[str]:
        """All values of a header."""
        return [value for key, value in self.headers if key == name]

    def header(self, name: str) -> str | None:
        """The only value of a header."""
        values = self.values(name)
        assert len(values) <= 1, f"{name} occurs {len(values)} times"
        return values[0] if values else None

    def problem(self) -> tuple[int, str]:
        """Status and code of an error of the node's own."""
        assert self.header("content-type") == "application/problem+json"
        value = json.loads(self.body)
        assert value["status"] == self.status
        assert value["title"]
        return self.status, value["code"]


class ProxyClient:
    """Sends any request, untouched: no redirects are followed, nothing is decoded."""

    def __init__(self, address: str, session: aiohttp.ClientSession) -> None:
        self.address = address
        self._session = session

    async def send(
        self, target: str = "/", method: str = "GET", *, headers: Pairs | Mapping[str, str] = (), data: Any = None
    ) -> ProxiedAnswer:
        """A request and its whole answer."""
        async with self.open(target, method, headers=headers, data=data) as response:
            body = await response.read()
            pairs = [(name.decode().lower(), value.decode("latin-1")) for name, value in response.raw_headers]
            return ProxiedAnswer(status=response.status, headers=pairs, body=body)

    @asynccontextmanager
    async def open(
        self, target: str = "/", method: str = "GET", *, headers: Pairs | Mapping[str, str] = (), data: Any = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A request whose answer is read by the caller. Leaving before its end closes the connection."""
        url = URL(f"http://{self.address}{target}", encoded=True)
        async with self._session.request(method, url, headers=headers, data=data, allow_redirects=False) as response:
            yield response
            if not response.content.at_eof():
                response.close()
