"""How much memory a cache really takes: a process that sends distinct requests through the code of a node, without
sockets, and tells what it takes. Usage: `python -m tests.support.cache_memory REQUESTS BYTES`."""

import asyncio
import json
import os
import random
import sys

from gateway.response_cache.response_cache import ResponseCache
from tests.benchmarks.procfs import resident_bytes
from tests.support.in_process import ask, data_plane, request

# What a process takes by itself, libraries included, it has after so many requests to a cache of next to nothing.
_WARM_UP = 2000
_SMALL = 64 * 1024
_SIZES = range(400, 1600)  # characters of an answer


async def taken(requests: int, limit: int) -> dict[str, int]:
    """What the process has come to take for answers, how many are kept, and how many bytes they are counted as."""
    await _ask(_WARM_UP, ResponseCache(max_bytes=_SMALL))
    before = resident_bytes(os.getpid())
    answers = ResponseCache(max_bytes=limit)
    await _ask(requests, answers)
    after = resident_bytes(os.getpid())
    return {"taken": after - before, "entries": answers.entries, "bytes": answers.size_bytes}


async def _ask(requests: int, answers: ResponseCache) -> None:
    """Distinct requests, each with an answer of its own, on a route that keeps these."""
    chance = random.Random(7)
    pieces = [b""]
    async with data_plane(b"application/json", pieces, is_cached=True, answers=answers, is_logged=False) as app:
        for number in range(requests):
            message = {"role": "assistant", "content": "x" * chance.choice(_SIZES)}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            pieces[0] = json.dumps({"id": f"{number}", "model": "m", "choices": [choice]}).encode()
            sent = await ask(app, request(seed=number))
            assert sent[-1]["body"] == pieces[0]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(taken(*map(int, sys.argv[1:])))))
