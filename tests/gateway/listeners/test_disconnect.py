"""A client that goes away ends what is done for it, at once and nothing else."""

import asyncio
from collections.abc import Callable

import pytest

from gateway.listeners import disconnect
from gateway.listeners.disconnect import AsgiMessage, CancelOnDisconnect, ClientGoneError

DISCONNECT = {"type": "http.disconnect"}
BODY = {"type": "http.request", "body": b"", "more_body": False}


@pytest.fixture(autouse=True)
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Watching begins at once."""
    monkeypatch.setattr(disconnect, "_GRACE_S", 0.0)


class Client:
    """What a server tells of its client."""

    def __init__(self) -> None:
        self.messages = asyncio.Queue[AsgiMessage]()
        self.is_asked = asyncio.Event()

    async def receive(self) -> AsgiMessage:
        self.is_asked.set()
        return await self.messages.get()

    def leave(self) -> None:
        self.messages.put_nowait(DISCONNECT)


class Work:
    """Something done for a client."""

    def __init__(self) -> None:
        self.is_running = asyncio.Event()
        self.finish = asyncio.Event()
        self.was_cancelled = False

    async def run(self) -> str:
        self.is_running.set()
        try:
            await self.finish.wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        return "done"


async def serve(client: Client, work: Callable[[], object]) -> object:
    async with CancelOnDisconnect(client.receive):
        return await work()  # type: ignore[misc]  # any coroutine function


def watchers() -> list[asyncio.Task[object]]:
    return [task for task in asyncio.all_tasks() if "CancelOnDisconnect" in repr(task.get_coro())]


async def test_work_that_ends_is_left_alone() -> None:
    client, work = Client(), Work()
    serving = asyncio.create_task(serve(client, work.run))
    await client.is_asked.wait()
    work.finish.set()
    assert await serving == "done"
    await asyncio.sleep(0)
    assert watchers() == []


async def test_work_for_a_client_that_leaves_is_cancelled() -> None:
    client, work = Client(), Work()
    serving = asyncio.create_task(serve(client, work.run))
    await client.is_asked.wait()
    client.leave()
    with pytest.raises(ClientGoneError):
        await serving
    assert work.was_cancelled
    assert not serving.cancelled()
    assert watchers() == []


async def test_task_can_go_on_after_its_client_has_left() -> None:
    client, work = Client(), Work()

    async def handle() -> int:
        with pytest.raises(ClientGoneError):
            await serve(client, work.run)
        await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    handling = asyncio.create_task(handle())
    await client.is_asked.wait()
    client.leave()
    assert await handling == 0


async def test_other_messages_mean_nothing() -> None:
    client, work = Client(), Work()
    serving = asyncio.create_task(serve(client, work.run))
    for _ in range(3):
        client.messages.put_nowait(BODY)
    await client.is_asked.wait()
    work.finish.set()
    assert await serving == "done"


async def test_cancellation_from_elsewhere_stays_one() -> None:
    client, work = Client(), Work()
    serving = asyncio.create_task(serve(client, work.run))
    await work.is_running.wait()
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert serving.cancelled()
    await asyncio.sleep(0)
    assert watchers() == []


async def test_cancellation_from_elsewhere_counts_though_the_client_leaves_too() -> None:
    client, work = Client(), Work()
    serving = asyncio.create_task(serve(client, work.run))
    await client.is_asked.wait()
    client.leave()
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving


async def test_error_of_the_work_is_its_own() -> None:
    async def fail() -> None:
        raise ValueError("it broke")

    with pytest.raises(ValueError, match="it broke"):
        await serve(Client(), fail)


async def test_time_limit_within_the_work_stays_one() -> None:
    client, work = Client(), Work()

    async def limited() -> None:
        async with asyncio.timeout(0.01):
            await work.run()

    with pytest.raises(TimeoutError):
        await serve(client, limited)


async def test_quick_work_is_not_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disconnect, "_GRACE_S", 3600.0)
    client, work = Client(), Work()
    work.finish.set()
    assert await serve(client, work.run) == "done"
    assert not client.is_asked.is_set()
    assert watchers() == []
