"""The parts of the benchmark: the mock answers as a model would, and load that fails in any way is no measurement."""

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from janua_client.processes import Child

from tests.benchmarks.comparison import Comparison, Memory, check
from tests.benchmarks.mock_upstream import STREAMED_CHUNKS
from tests.benchmarks.procfs import cpu_seconds, resident_bytes
from tests.benchmarks.rig import Load, Sample
from tests.support import scripts
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import chunked_response, json_response, response, sse

UNARY = {"model": "mock", "messages": []}
STREAM = {**UNARY, "stream": True}
PACED = {**STREAM, "user": "paced"}


@pytest.fixture
async def mock() -> AsyncIterator[str]:
    child = await Child.start("mock", [sys.executable, "-m", "tests.benchmarks.mock_upstream"])
    yield str((await child.ready(30))["address"])
    await child.stop()


async def load(address: str, body: dict[str, Any], directory: Path, requests: int = 20) -> tuple[int, str]:
    """Exit code and last line of a run of the load generator."""
    file = directory / "body.json"
    file.write_text(json.dumps(body, separators=(",", ":")))
    options = ("--connections", "4", "--requests", str(requests), "--key", "k")
    command = [sys.executable, "-m", "tests.benchmarks.load_generator", address, str(file), *options]
    child = await Child.start("load", command)
    code = await child.wait()
    await child.stop()
    return code, child.log_tail(1)[0]


@pytest.mark.parametrize("body", [STREAM, PACED])
async def test_mock_streams_whole_answers(mock: str, body: dict[str, Any]) -> None:
    data = json.dumps(body, separators=(",", ":"))
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://{mock}/v1/chat/completions", data=data) as reply,
    ):
        events = (await reply.text()).split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    assert sum('"content": "' in event and "word" in event for event in events) == STREAMED_CHUNKS


async def test_mock_answers_one_kilobyte(mock: str) -> None:
    async with aiohttp.ClientSession() as session, session.post(f"http://{mock}/v1/embeddings", json=UNARY) as reply:
        assert len(await reply.read()) == 1024
        assert (await reply.json())["object"] == "chat.completion"


@pytest.mark.parametrize(("body", "events"), [(UNARY, 0), (STREAM, 20 * (STREAMED_CHUNKS + 2))])
async def test_load_counts_what_came(mock: str, body: dict[str, Any], events: int, tmp_path: Path) -> None:
    code, line = await load(mock, body, tmp_path)
    result = json.loads(line)
    assert code == 0
    assert (result["requests"], result["events"]) == (20, events)
    assert result["seconds"] > 0


GOOD = json_response(200, {"a": "b" * 100})
WHOLE_STREAM = chunked_response(sse({"a": 1}))


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (UNARY, scripts.fail(503)),
        (UNARY, scripts.answer(response(500))),
        (UNARY, scripts.cut(GOOD, len(GOOD) - 1)),
        (UNARY, scripts.reset()),
        (STREAM, scripts.answer(chunked_response(sse({"a": 1}, done=False)))),
        (STREAM, scripts.cut(WHOLE_STREAM, len(WHOLE_STREAM) - 1)),
    ],
)
async def test_one_bad_answer_voids_the_run(
    faulty_upstream: FaultyUpstream, body: dict[str, Any], fault: scripts.Script, tmp_path: Path
) -> None:
    faulty_upstream.script = scripts.answer(GOOD if body is UNARY else WHOLE_STREAM)
    faulty_upstream.next.extend([faulty_upstream.script] * 10 + [fault])
    code, line = await load(faulty_upstream.address, body, tmp_path)
    assert code == 1
    assert line.startswith("a request failed, so the run is void")
    assert faulty_upstream.requests[0].header("authorization") == "Bearer k"


async def test_nobody_there_voids_the_run(tmp_path: Path) -> None:
    code, line = await load("127.0.0.1:1", UNARY, tmp_path)
    assert (code, line.startswith("a request failed")) == (1, True)


def sample(rate: float, cpu_us: float = 100.0) -> Sample:
    return Sample(requests_per_s=rate, events_per_s=rate * 2, cpu_us=cpu_us)


def test_ratio_is_the_median_over_the_rounds() -> None:
    """One disturbed round, whichever of the two it hits, does not decide."""
    comparison = Comparison(
        load=Load(name="x", body=UNARY, requests=1),
        floor=(sample(1000), sample(100), sample(2000)),
        node=(sample(800, 150), sample(900, 300), sample(1600, 150)),
    )
    assert comparison.ratio == 0.8
    assert comparison.cpu_ratio == 1.5
    assert comparison.load.unit == "requests/s"
    assert (comparison.floor_rate, comparison.node_rate) == (1000, 900)


@pytest.mark.parametrize(
    ("node_rate", "memory", "met"),
    [
        (750, (100 << 20, 104 << 20), [True, True, True]),
        (749, (100 << 20, 100 << 20), [False, True, True]),
        (750, (121 << 20, 100 << 20), [True, False, True]),
        (750, (100 << 20, 106 << 20), [True, True, False]),
    ],
)
def test_targets(node_rate: float, memory: tuple[int, ...], met: list[bool]) -> None:
    load = Load(name="x", body=STREAM, requests=1)
    comparison = Comparison(load=load, floor=(sample(1000),), node=(sample(node_rate),))
    assert [each.met for each in check([comparison], Memory(requests=10, seen=memory))] == met


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_process_figures_are_of_the_process() -> None:
    work = "import time; held = b'x' * (50 << 20); sum(range(10**7)); print('{\"event\": \"ready\"}', flush=True)"
    child = await Child.start("busy", [sys.executable, "-c", f"{work}; time.sleep(600)"])
    await child.ready(30)
    assert cpu_seconds(child.pid) > 0.02
    assert resident_bytes(child.pid) > 50 << 20
    await child.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="pins processes to cores")
async def test_small_run_measures_floor_and_node(tmp_path: Path) -> None:
    """Its figures mean nothing, so neither does whether the targets are met."""
    options = (
        "--rounds",
        "1",
        "--requests",
        "100",
        "--memory-requests",
        "1000",
        "--json",
        str(tmp_path / "found.json"),
    )
    child = await Child.start("bench", [sys.executable, "-m", "tests.benchmarks.bench_gateway", *options])
    assert await child.wait() in {0, 1}, child.log_tail()
    await child.stop()
    assert (tmp_path / "found.json").exists(), child.log_tail()
    found = json.loads((tmp_path / "found.json").read_text())
    assert [each["load"]["requests"] for each in found["comparisons"]] == [100, 20, 20]
    assert all(each["node"][0]["requests_per_s"] > 0 for each in found["comparisons"])
    assert len(found["memory"]["seen"]) == 10
    assert len(found["checks"]) == 5
