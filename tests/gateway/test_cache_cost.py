"""What a cache adds to a request that it has no answer for: calls of functions, and nothing that is left behind."""

import gc
from contextlib import AbstractAsyncContextManager

import pytest

from gateway.listeners.data_plane import DataPlane
from tests.gateway.test_hot_path import ALLOWED_GROWTH, counting
from tests.support.in_process import ANSWER, CHUNK, DONE, ask, data_plane, request


def with_cache(*, streamed: bool) -> AbstractAsyncContextManager[DataPlane]:
    pieces = [CHUNK * 100 + DONE] if streamed else [ANSWER]
    return data_plane(b"text/event-stream" if streamed else b"application/json", pieces, is_cached=True)


@pytest.mark.parametrize(("streamed", "miss", "hit"), [(False, 243, 112), (True, 282, 114)], ids=["whole", "stream"])
async def test_calls_of_functions(streamed: bool, miss: int, hit: int) -> None:
    async with with_cache(streamed=streamed) as app:
        for number in range(3):
            await ask(app, request(stream=streamed, seed=number))
        counted = []
        for number in (3, 3):
            with counting() as count:
                await ask(app, request(stream=streamed, seed=number))
                counted.append(count())
    assert counted[0] <= miss * ALLOWED_GROWTH
    assert counted[1] <= hit * ALLOWED_GROWTH


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
async def test_answers_leave_no_cycles(streamed: bool) -> None:
    """Field failure: memory grows beyond the bound of the cache. What refers to itself waits for the garbage collector,
    and each call would take its answer along."""
    async with with_cache(streamed=streamed) as app:
        await ask(app, request(stream=streamed))
        gc.collect()
        gc.disable()
        try:
            for number in range(20):
                await ask(app, request(stream=streamed, seed=number))
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            left = {type(each).__name__ for each in gc.garbage}
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
    assert left.isdisjoint({"Flight", "FlightReader", "RequestContext", "deque", "_Recorder", "CachedCall"})
