"""The client of the shared store, against a real one."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from gateway.shared_store import Script, SharedStore, StoreSettingError, StoreUnavailableError
from tests.support.polling import eventually
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.component("redis")

ECHO = Script.of("return {KEYS[1], ARGV[1], 7}")


@pytest.fixture
async def store(redis_server: RedisServer) -> AsyncIterator[SharedStore]:
    store = SharedStore(redis_server.url)
    yield store
    await store.close()


async def test_bytes_are_kept_and_deleted(store: SharedStore) -> None:
    assert await store.get(b"k\xff") is None
    await store.set(b"k\xff", b"v\x00\xff", 60)
    assert await store.get(b"k\xff") == b"v\x00\xff"
    await store.delete(b"k\xff")
    assert await store.get(b"k\xff") is None


async def test_bytes_are_forgotten_after_their_time(store: SharedStore) -> None:
    await store.set(b"k", b"v", 0.05)

    async def is_gone() -> bool:
        return await store.get(b"k") is None

    await eventually(is_gone)


async def test_a_script_runs_also_after_the_store_has_forgotten_it(
    store: SharedStore, redis_server: RedisServer
) -> None:
    for _ in range(2):
        assert await store.run(ECHO, [b"key"], [b"argument"]) == [b"key", b"argument", 7]
        await redis_server.command("SCRIPT FLUSH")


async def test_many_at_once_share_a_bounded_number_of_connections(redis_server: RedisServer) -> None:
    store = SharedStore(redis_server.url, timeout_s=30)  # of which the wait for a connection is a part
    answers = await asyncio.gather(*(store.run(ECHO, [b"k"], [number]) for number in range(500)))
    assert [int(answer[1]) for answer in answers] == list(range(500))
    clients = await redis_server.command("CLIENT LIST")
    assert 1 <= clients.count("lib-name=redis-py") <= 64
    await store.close()


async def test_a_store_that_goes_is_told_once_and_used_again_when_it_is_back(redis_server: RedisServer) -> None:
    failures: list[str] = []
    store = SharedStore(redis_server.url, on_failure=failures.append)
    await store.set(b"k", b"v", 60)
    with capture_logs() as logs:
        redis_server.stop()
        for _ in range(3):
            with pytest.raises(StoreUnavailableError):
                await store.get(b"k")
        await redis_server.start()

        async def is_back() -> bool:
            try:
                await store.get(b"k")
            except StoreUnavailableError:
                return False
            return True

        await eventually(is_back)
    assert failures[:3] == ["get"] * 3
    assert [entry["log_level"] for entry in logs] == ["error", "info"]
    await store.close()


async def test_a_store_that_is_silent_is_given_up_in_time() -> None:
    async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gone.wait()
        writer.close()

    gone = asyncio.Event()
    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    store = SharedStore(f"redis://:secret@127.0.0.1:{port}", timeout_s=0.05)
    async with asyncio.timeout(5):
        with pytest.raises(StoreUnavailableError):
            await store.get(b"k")
    assert "secret" not in repr(store)
    gone.set()
    await store.close()
    server.close()
    await server.wait_closed()


async def test_a_script_whose_answer_is_cut_off_is_not_sent_again() -> None:
    """It may have been run: what it takes of a limit would be taken twice."""
    scripts = 0

    async def cut_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal scripts
        while not (sent := await reader.read(65536)).count(b"EVALSHA"):
            writer.write(b"+OK\r\n" * sent.count(b"CLIENT"))  # what the client says of itself first
            if not sent:
                break
        scripts += sent.count(b"EVALSHA")
        writer.close()

    server = await asyncio.start_server(cut_off, "127.0.0.1", 0)
    store = SharedStore(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    with pytest.raises(StoreUnavailableError):
        await store.run(ECHO, [b"k"], [1])
    assert scripts == 1
    await store.close()
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("url", ["http://127.0.0.1", "127.0.0.1:6379", "redis://:secret@127.0.0.1:x"])
def test_what_is_no_address_of_a_store_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(StoreSettingError) as refused:
        SharedStore(url)
    assert "secret" not in str(refused.value)
