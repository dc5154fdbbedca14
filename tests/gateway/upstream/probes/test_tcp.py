"""The TCP probe: a connection can be opened, and is closed again without a word."""

import asyncio
import socket

import pytest

from gateway.config.upstream import TcpProbe, UpstreamProtocol
from tests.gateway.upstream.probes.probing import ask, fault, nobody


@pytest.mark.parametrize("protocol", UpstreamProtocol)
async def test_whoever_listens_is_well_whatever_it_speaks(protocol: UpstreamProtocol) -> None:
    received = asyncio.Queue[bytes]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.put_nowait(await reader.read())
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert await ask(TcpProbe(), url, protocol=protocol) is None
        async with asyncio.timeout(10):
            assert await received.get() == b""


async def test_the_address_that_was_found_for_the_name_is_connected_to() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://box.example:{listening.getsockname()[1]}"
        assert await ask(TcpProbe(), url, found_at="127.0.0.1") is None


async def test_nobody_there() -> None:
    async with nobody() as address:
        assert await fault(TcpProbe(), f"http://{address}") == "connection refused"


async def test_an_ipv6_address_is_connected_to() -> None:
    try:
        listening = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with listening:
        assert await ask(TcpProbe(), f"http://[::1]:{listening.getsockname()[1]}") is None
