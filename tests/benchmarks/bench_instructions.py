"""Counts the machine instructions of a request in the gateway itself: a figure that other work on the machine does not
change. Usage: `make bench-instructions`; needs valgrind.

A node's listeners are run without a server and before a backend that answers at once, in two runs of different length:
what a request costs is the difference. Counts depend on the versions of Python and of the libraries, and on the
processor's kind: only two commits on one machine can be compared.
"""

import argparse
import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from rich.console import Console
from rich.table import Table

from tests.support.in_process import ANSWER, CHUNK, DONE, ask, call, data_plane, request, typed_api

_WARM_UP = 20
_COUNTED = re.compile(r"I\s+refs:\s+([0-9,]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One kind of request and its answer."""

    content_type: bytes
    pieces: Sequence[bytes]
    stream: bool = False
    over_grpc: bool = False


_WHOLE = Load(content_type=b"application/json", pieces=[ANSWER])
_ONE_BY_ONE = Load(content_type=b"text/event-stream", pieces=[*[CHUNK] * 100, DONE], stream=True)

LOADS: Mapping[str, Load] = {
    "whole answer of 1 KB": _WHOLE,
    "stream of 100 chunks in 4 reads": replace(_ONE_BY_ONE, pieces=[*[CHUNK * 25] * 4, DONE]),
    "stream of 100 chunks, one by one": _ONE_BY_ONE,
    "gRPC: whole answer of 1 KB": replace(_WHOLE, over_grpc=True),
    "gRPC: stream of 100 chunks, one by one": replace(_ONE_BY_ONE, over_grpc=True),
}


@asynccontextmanager
async def asking(load: Load) -> AsyncIterator[Callable[[], Awaitable[object]]]:
    """What makes one request of the load."""
    if load.over_grpc:
        async with typed_api(load.content_type, load.pieces) as methods:
            yield lambda: call(methods, stream=load.stream)
    else:
        body = request(stream=True) if load.stream else request()
        async with data_plane(load.content_type, load.pieces) as app:
            assert (await ask(app, body))[0]["status"] == 200
            yield lambda: ask(app, body)


async def run(load: Load, requests: int) -> float:
    """Makes so many requests after a few others and returns the CPU time of one in microseconds."""
    async with asking(load) as ask_once:
        for _ in range(_WARM_UP):
            await ask_once()
        began = time.process_time()
        for _ in range(requests):
            await ask_once()
        used = time.process_time() - began
    return used / max(1, requests) * 1e6


def instructions(name: str, requests: int) -> int:
    """Those of a process that makes so many requests. Raises `subprocess.CalledProcessError`."""
    counter = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")
    program = (sys.executable, "-m", "tests.benchmarks.bench_instructions", "--run", name, str(requests))
    # Without random hashes every run is the same.
    done = subprocess.run(
        (*counter, *program), env={**os.environ, "PYTHONHASHSEED": "0"}, capture_output=True, text=True, check=True
    )
    found = _COUNTED.search(done.stderr)
    assert found is not None, done.stderr
    return int(found[1].replace(",", ""))


def main() -> None:
    parser = argparse.ArgumentParser(description="Instructions of a request in the gateway itself.")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--cpu", action="store_true", help="measure CPU time instead")
    parser.add_argument("--run", nargs=2, metavar=("LOAD", "REQUESTS"), help="only make the requests")
    args = parser.parse_args()
    if args.run is not None:
        asyncio.run(run(LOADS[args.run[0]], int(args.run[1])))
        return
    table = Table("load", "a request takes")
    for name, load in LOADS.items():
        if args.cpu:
            table.add_row(name, f"{min(asyncio.run(run(load, args.requests)) for _ in range(5)):.1f} µs")
        else:
            more = instructions(name, args.requests) - instructions(name, 0)
            table.add_row(name, f"{more / args.requests:,.0f} instructions")
    Console(width=None if sys.stdout.isatty() else 100).print(table)


if __name__ == "__main__":
    main()
