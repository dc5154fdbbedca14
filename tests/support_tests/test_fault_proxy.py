"""The fault proxy does to a server's bytes what it is told, and nothing to the client's."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fault_proxy import FaultProxy
from tests.support.faults import Cut, Fault, Garbage, Reset, Slow, Stall, noise, split
from tests.support.polling import eventually

ANSWER = bytes(range(128)) * 16
"""What the server says to every line. None of it is noise."""


class Server:
    """Answers every line with `ANSWER`, and remembers what it has been sent."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.left = 0
        """Clients that have gone."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while line := await reader.readline():
                self.received.append(line)
                writer.write(ANSWER)
                await writer.drain()
        self.left += 1
        writer.close()


@pytest.fixture
async def server() -> Server:
    return Server()


@pytest.fixture
async def proxy(server: Server) -> AsyncIterator[FaultProxy]:
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    host, port = listener.sockets[0].getsockname()
    proxy = FaultProxy(f"{host}:{port}")
    await proxy.start()
    yield proxy
    await proxy.stop()
    listener.close()
    await listener.wait_closed()


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self) -> bytes:
        """Sends a line, and gives what comes until the answer is whole or the connection ends in order."""
        self.writer.write(b"hello\n")
        received = bytearray()
        while len(received) < len(ANSWER) and (data := await self.reader.read(65536)):
            received += data
        return bytes(received)


@pytest.fixture
async def client(proxy: FaultProxy) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection(*proxy.address.split(":"))
    yield Client(reader, writer)
    writer.close()


async def test_without_a_fault_everything_passes(proxy: FaultProxy, server: Server, client: Client) -> None:
    assert await client.ask() == ANSWER
    assert await client.ask() == ANSWER
    assert server.received == [b"hello\n", b"hello\n"]
    assert proxy.connections == 1


@pytest.mark.parametrize("after", [0, 1, 1000, len(ANSWER) - 1])
async def test_a_cut_ends_the_connection_in_order(proxy: FaultProxy, client: Client, after: int) -> None:
    proxy.fault = Cut(after)
    assert await client.ask() == ANSWER[:after]
    assert client.reader.at_eof()


@pytest.mark.parametrize("after", [0, 1, 1000, len(ANSWER) - 1])
async def test_a_reset_breaks_the_connection(proxy: FaultProxy, client: Client, after: int) -> None:
    proxy.fault = Reset(after)
    client.writer.write(b"hello\n")
    assert await client.reader.readexactly(after) == ANSWER[:after]
    with pytest.raises(ConnectionResetError):
        await client.reader.read(1)


@pytest.mark.parametrize("after", [0, 1000])
async def test_a_stall_holds_the_rest_until_it_is_over(proxy: FaultProxy, client: Client, after: int) -> None:
    proxy.fault = Stall(after)
    client.writer.write(b"hello\n")
    assert await client.reader.readexactly(after) == ANSWER[:after]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await client.reader.read(1)
    proxy.fault = None
    assert await client.reader.readexactly(len(ANSWER) - after) == ANSWER[after:]


async def test_a_stall_that_becomes_another_fault_is_that(proxy: FaultProxy, client: Client) -> None:
    proxy.fault = Stall()
    client.writer.write(b"hello\n")
    await asyncio.sleep(0)
    proxy.fault = Cut(10)
    assert await client.reader.read() == ANSWER[:10]


@pytest.mark.parametrize("after", [0, 1000])
async def test_garbage_comes_instead_of_the_bytes(proxy: FaultProxy, client: Client, after: int) -> None:
    proxy.fault = Garbage(after)
    answer = await client.ask()
    assert answer[:after] == ANSWER[:after]
    assert len(answer) == len(ANSWER)
    assert not set(answer[after:]) & set(ANSWER)


async def test_every_answer_is_counted_from_its_beginning(proxy: FaultProxy, client: Client) -> None:
    proxy.fault = Cut(len(ANSWER))
    assert [await client.ask() for _ in range(3)] == [ANSWER] * 3


async def test_slow_bytes_take_their_time(proxy: FaultProxy) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    slow = FaultProxy(proxy.address, sleep=sleep)
    slow.fault = Slow(bytes_per_s=1000)
    await slow.start()
    reader, writer = await asyncio.open_connection(*slow.address.split(":"))
    assert await Client(reader, writer).ask() == ANSWER
    writer.close()
    await slow.stop()
    assert sum(slept) == pytest.approx(len(ANSWER) / 1000)
    assert max(slept) <= 0.05


@pytest.mark.parametrize("fault", [None, Stall()])
async def test_the_server_hears_that_the_client_has_gone(
    proxy: FaultProxy, server: Server, client: Client, fault: Fault | None
) -> None:
    proxy.fault = fault
    client.writer.write(b"hello\n")

    async def has_asked() -> bool:
        return bool(server.received)

    await eventually(has_asked)
    client.writer.close()

    async def has_gone() -> bool:
        return server.left == 1

    await eventually(has_gone)


async def test_a_stopped_proxy_refuses_and_breaks_connections_and_comes_back(proxy: FaultProxy, client: Client) -> None:
    assert await client.ask() == ANSWER
    host, port = proxy.address.split(":")
    await proxy.stop()
    with pytest.raises(ConnectionResetError):
        await client.ask()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(host, port)
    await proxy.start(int(port))
    reader, writer = await asyncio.open_connection(host, port)
    assert await Client(reader, writer).ask() == ANSWER
    writer.close()


async def test_a_server_that_is_not_there_ends_the_connection() -> None:
    proxy = FaultProxy("127.0.0.1:1")
    await proxy.start()
    reader, writer = await asyncio.open_connection(*proxy.address.split(":"))
    assert await reader.read() == b""
    writer.close()
    await proxy.stop()


@given(st.lists(st.binary(), max_size=5), st.integers(0, 30))
def test_as_much_passes_as_may_however_the_bytes_come(pieces: list[bytes], after: int) -> None:
    passed, held = b"", b""
    for piece in pieces:
        head, rest = split(piece, len(passed), after)
        assert head + rest == piece
        passed, held = passed + head, held + rest
    assert passed == b"".join(pieces)[:after]


@pytest.mark.parametrize("size", [0, 1, 127, 128, 1000])
def test_noise_has_the_size_that_was_asked_for(size: int) -> None:
    assert len(noise(size)) == size
    assert all(byte >= 128 for byte in noise(size))
