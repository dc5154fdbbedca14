"""The access log: one line per request, written beside the requests and never instead of them, to the last entry."""

import asyncio
import errno
import io
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from gateway.telemetry.access_log import AccessLog, AccessLogEntry


def entry(request_id: str = "r", **fields: Any) -> AccessLogEntry:
    smallest: dict[str, Any] = {
        "time": 1.5,
        "protocol": "http",
        "method": "POST",
        "path": "/v1/x",
        "status": "200",
        "duration_ms": 2.5,
    }
    return AccessLogEntry(request_id=request_id, **(smallest | fields))


class Output(io.BytesIO):
    """Where lines are written. `gate` closed holds a write up; `failure` makes it fail."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.is_writing = threading.Event()
        self.failure: OSError | None = None
        self.flushed = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def write(self, data: Any) -> int:
        self.is_writing.set()
        self.gate.wait()
        failure = self.failure
        if failure is not None:
            self._loop.call_soon_threadsafe(self.flushed.set)
            raise failure
        return super().write(data)

    def flush(self) -> None:
        super().flush()
        self._loop.call_soon_threadsafe(self.flushed.set)

    async def until_flushed(self) -> None:
        await self.flushed.wait()
        self.flushed.clear()

    @property
    def ids(self) -> list[str]:
        return [json.loads(line)["request_id"] for line in self.getvalue().splitlines()]


@asynccontextmanager
async def running(log: AccessLog) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(log.run())
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()


async def test_entry_is_one_line_of_what_is_there() -> None:
    output = Output()
    log = AccessLog(output)
    async with running(log):
        log.add(entry("r-1"))
        log.add(entry("r-2", model="m", attempts=2, stream=True, input_tokens=5))
        await output.until_flushed()
    first, second = (json.loads(line) for line in output.getvalue().splitlines())
    assert first == {
        "time": 1.5,
        "request_id": "r-1",
        "protocol": "http",
        "method": "POST",
        "path": "/v1/x",
        "status": "200",
        "duration_ms": 2.5,
    }
    assert second == {**first, "request_id": "r-2", "model": "m", "attempts": 2, "stream": True, "input_tokens": 5}


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_stays_on_its_line(text: str) -> None:
    line = msgspec.json.encode(entry(path=text, model=text))
    assert b"\n" not in line
    assert json.loads(line)["path"] == text


def test_entry_has_no_place_for_keys_or_content() -> None:
    assert set(AccessLogEntry.__struct_fields__) == {
        *("time", "request_id", "protocol", "method", "path", "status", "duration_ms", "model", "route", "service"),
        *("endpoint", "consumer", "attempts", "client", "stream", "reason", "input_tokens", "output_tokens"),
        *("cost_usd", "cache"),
    }


async def test_without_an_output_nothing_is_taken() -> None:
    log = AccessLog(None)
    assert not log.is_enabled
    log.add(entry())
    async with running(log):
        log.add(entry())


async def test_end_writes_what_is_left() -> None:
    output = Output()
    log = AccessLog(output)
    async with running(log) as task:
        await asyncio.sleep(0)
        log.add(entry("last"))
        assert not task.done()
    assert output.ids == ["last"]


async def test_slow_output_holds_nobody_up_and_loses_nothing() -> None:
    output = Output()
    log = AccessLog(output)
    async with running(log):
        log.add(entry("0"))
        output.gate.clear()
        await asyncio.to_thread(output.is_writing.wait)
        for number in range(1, 1000):
            log.add(entry(str(number)))
        assert output.ids == []
        output.gate.set()
        await output.until_flushed()
    assert output.ids == [str(number) for number in range(1000)]


async def test_end_waits_for_a_write_that_has_begun() -> None:
    output = Output()
    log = AccessLog(output)
    task = asyncio.create_task(log.run())
    log.add(entry("first"))
    output.gate.clear()
    await asyncio.to_thread(output.is_writing.wait)
    log.add(entry("second"))
    task.cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not task.done()
    output.gate.set()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert output.ids == ["first", "second"]


async def test_output_that_falls_far_behind_loses_the_oldest() -> None:
    log = AccessLog(output := Output())
    for number in range(25_000):
        log.add(entry(str(number)))
    async with running(log):
        await asyncio.sleep(0)
    assert 9_000 <= len(output.ids) <= 10_000
    assert output.ids == [str(number) for number in range(25_000 - len(output.ids), 25_000)]


async def test_output_that_fails_ends_nothing() -> None:
    output = Output()
    log = AccessLog(output)
    async with running(log) as task:
        output.failure = OSError(errno.ENOSPC, "No space left on device")
        log.add(entry("lost"))
        await output.until_flushed()
        output.failure = None
        log.add(entry("kept"))
        await output.until_flushed()
        assert not task.done()
    assert output.ids == ["kept"]


async def test_output_that_fails_at_the_end_ends_in_order() -> None:
    output = Output()
    log = AccessLog(output)
    async with running(log):
        output.failure = BrokenPipeError(errno.EPIPE, "Broken pipe")
        log.add(entry("lost"))
    assert output.ids == []
