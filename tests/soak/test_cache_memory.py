"""A million distinct requests go through a node with a cache: its memory stays within the bound that it was given. Once
through the code of a node alone, where nothing but the cache grows, and once over sockets, which takes half an hour.
`JANUA_SOAK_REQUESTS` sets how many."""

import json
import os
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from janua_client.processes import Child

from tests.benchmarks.bench_cache import configuration, requests
from tests.benchmarks.closed_loop import ask_all
from tests.benchmarks.procfs import resident_bytes
from tests.support.processes import NodeFactory

pytestmark = pytest.mark.soak

REQUESTS = int(os.environ.get("JANUA_SOAK_REQUESTS", "1000000"))
CACHE_BYTES = 64 * 1024 * 1024
_KEPT_BYTES = 1000  # at least, of each answer
_OWN_BYTES = 8 * 1024 * 1024  # what a node may grow by without keeping anything


def test_code_of_a_node_stays_within_ten_per_cent_of_the_bound(capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-m", "tests.support.cache_memory", str(REQUESTS), str(_limit())]
    told = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    with capsys.disabled():
        sys.stdout.write(f"\n{REQUESTS} requests, bound {_limit()}: {told}\n")
    assert told["bytes"] > 0.98 * _limit()
    assert told["taken"] <= 1.1 * _limit()


def _limit() -> int:
    """So that what is kept is more by far than there is room for."""
    return min(CACHE_BYTES, max(1024 * 1024, REQUESTS * _KEPT_BYTES // 2))


async def test_memory_stays_within_the_bound(node: NodeFactory, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        mock = await Child.start("mock", [sys.executable, "-m", "tests.benchmarks.mock_upstream"])
        stack.push_async_callback(mock.stop)
        file = tmp_path / "janua.yaml"
        file.write_text(configuration(str((await mock.ready(30))["address"])))
        limit = _limit()
        measured = await node(None, "--access-log", "off", "--cache-bytes", str(limit), config_file=file)
        pid = int(measured.child.pid)
        # What the node takes anyway: it is warm, knows the library, and has kept next to nothing.
        for host, numbers in (("plain.test", range(5000)), ("kept.test", range(-100, 0))):
            await ask_all(measured.http, requests(host, iter(numbers), streamed=False), connections=32)
        before = resident_bytes(pid)
        await ask_all(measured.http, requests("kept.test", iter(range(REQUESTS)), streamed=False), connections=32)
        grown = resident_bytes(pid) - before
        assert grown < 1.1 * limit + _OWN_BYTES, f"{grown / 1e6:.1f} MB of {limit / 1e6:.1f} MB"
