"""Config servers over one database, each a process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from janua.config.v1 import config_service_pb2 as pb
from janua.config.v1.resource_pb2 import KIND_UPSTREAM
from janua_client.config_client import ConfigClient
from janua_resources.kinds import unwrap

from tests.config_server.server_process import ServerProcess, server_process


@dataclass(frozen=True, slots=True)
class Fleet:
    url: str
    servers: list[ServerProcess]

    def client(self, index: int) -> ConfigClient:
        return ConfigClient(self.servers[index].address)


async def start(stack: AsyncExitStack, url: str, replica: str, listen: str = "127.0.0.1:0") -> ServerProcess:
    return await stack.enter_async_context(
        server_process("--listen", listen, "--store", url, "--replica-id", replica, "--drain-timeout", "1s")
    )


@asynccontextmanager
async def three_servers(url: str) -> AsyncIterator[Fleet]:
    async with AsyncExitStack() as stack:
        servers = await asyncio.gather(*(start(stack, url, f"replica-{name}") for name in "abc"))
        yield Fleet(url, list(servers))


async def state(client: ConfigClient, min_revision: int) -> dict[str, str]:
    """Upstreams and their descriptions."""
    request = pb.ListResourcesRequest(kind=KIND_UPSTREAM, min_revision=min_revision, page_size=1000)
    state = {}
    while True:
        page = await client._stub.ListResources(request)
        for each in page.resources:
            message = unwrap(each.resource)
            state[message.name] = message.description
        if not page.next_page_token:
            return state
        request.page_token = page.next_page_token
