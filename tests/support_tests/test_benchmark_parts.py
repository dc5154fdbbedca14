"""The parts of the benchmark: the mock answers as a model would, and load that fails in any way is no measurement."""

import json
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from janua_client.processes import Child, ChildError

from tests.benchmarks.comparison import Comparison, Memory, check
from tests.benchmarks.gateway_rows import Row, markdown_of, slowness_of
from tests.benchmarks.mock_upstream import STREAMED_CHUNKS
from tests.benchmarks.procfs import cpu_seconds, resident_bytes
from tests.benchmarks.rig import Load, Sample, run_program
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


async def test_bodies_are_sent_in_turn(faulty_upstream: FaultyUpstream, tmp_path: Path) -> None:
    faulty_upstream.script = scripts.answer(GOOD)
    load = Load(name="x", body=UNARY, requests=6, models=("a", "b"))
    load.write_to(tmp_path / "bodies")
    await run_program(
        "tests.benchmarks.load_generator", faulty_upstream.address, str(tmp_path / "bodies"), "--requests", "6"
    )
    assert Counter(json.loads(request.body)["model"] for request in faulty_upstream.requests) == {"a": 3, "b": 3}


async def test_time_to_the_first_word_is_that_of_a_timed_stream(mock: str, tmp_path: Path) -> None:
    """The head comes at once, ten milliseconds later the role, and after ten more the first word."""
    code, line = await load(mock, {**STREAM, "user": "timed"}, tmp_path, requests=4)
    assert code == 0
    assert json.loads(line)["first_p50_ms"] >= 15
    assert json.loads(line)["seconds"] >= 0.9


async def test_load_at_a_fixed_rate_counts_from_when_it_was_due(mock: str, tmp_path: Path) -> None:
    (tmp_path / "body").write_text(json.dumps(UNARY))
    options = (mock, str(tmp_path / "body"), "--rate", "50", "--seconds", "0.5")
    found = await run_program("tests.benchmarks.fixed_rate_load", *options)
    assert found["requests"] >= 24
    assert 0 < found["p50_ms"] <= found["p99_ms"]


@pytest.mark.parametrize("fault", [scripts.fail(503), scripts.cut(GOOD, len(GOOD) - 1), scripts.reset()])
async def test_one_bad_answer_voids_a_run_at_a_fixed_rate(
    faulty_upstream: FaultyUpstream, fault: scripts.Script, tmp_path: Path
) -> None:
    faulty_upstream.script = scripts.answer(GOOD)
    faulty_upstream.next.extend([faulty_upstream.script] * 60 + [fault])
    (tmp_path / "body").write_text(json.dumps(UNARY))
    options = (faulty_upstream.address, str(tmp_path / "body"), "--rate", "100", "--seconds", "0.5")
    with pytest.raises(ChildError, match="a request failed, so the run is void"):
        await run_program("tests.benchmarks.fixed_rate_load", *options)


async def test_nobody_there_voids_a_run_over_grpc() -> None:
    with pytest.raises(ChildError, match="a call failed, so the run is void"):
        await run_program("tests.benchmarks.grpc_load", "127.0.0.1:1", "m", "--requests", "1")


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


@pytest.mark.parametrize(
    ("row", "scaled", "is_met"),
    [
        (Row(what="x", unit="µs", node=1180, most=590, slowness=2.0), 590, True),
        (Row(what="x", unit="µs", node=1182, most=590, slowness=2.0), 591, False),
        (Row(what="x", unit="µs", node=300, most=590, slowness=0.5), 600, False),
        (Row(what="x", unit="KB", node=4, most=4), 4, True),
        (Row(what="x", unit="times", node=1.3, least=1.4), 1.3, False),
        (Row(what="x", unit="times", node=1.4, least=1.4), 1.4, True),
    ],
)
def test_times_are_judged_in_terms_of_the_relay(row: Row, scaled: float, is_met: bool) -> None:
    assert row.scaled == scaled
    check = row.check()
    assert check is not None
    assert check.met == is_met


def test_row_without_a_target_is_no_check() -> None:
    row = Row(what="x", unit="µs", node=1234.5, floor=10.25, slowness=slowness_of(980, "hypercorn"))
    assert row.check() is None
    assert row.cells() == ("x", "10.2 µs", "", "1,234 µs", "617 µs", "")


def test_page_says_what_is_missed() -> None:
    rows = [Row(what="x", unit="KB", node=5, most=4), Row(what="y", unit="KB", node=3, most=4)]
    assert markdown_of(rows).splitlines()[2:] == [
        "| x |  |  | 5.00 KB |  | ≤ 4 KB: **missed** |",
        "| y |  |  | 3.00 KB |  | ≤ 4 KB |",
    ]


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


@pytest.mark.soak
@pytest.mark.timeout(180)  # many short processes, on a machine that other tests use
@pytest.mark.skipif(sys.platform != "linux", reason="pins processes to cores")
async def test_small_run_measures_parts_of_a_node(tmp_path: Path) -> None:
    options = ("--server", "granian", "--short", "--only", "latency,grpc,size", "--json", str(tmp_path / "found.json"))
    child = await Child.start("bench", [sys.executable, "-m", "tests.benchmarks.bench_gateway", *options])
    assert await child.wait() in {0, 1}, child.log_tail()
    await child.stop()
    assert (tmp_path / "found.json").exists(), child.log_tail()
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["comparisons"], found["memory"]) == ([], None)
    assert [row["unit"] for row in found["rows"]] == [
        *("ms", "ms"),
        *("µs", "µs"),
        *("%", "%", "KB", "µs", "ms", "ms", "ms", "ms", "ms"),
    ]
    assert all(row["node"] > 0 for row in found["rows"] if row["unit"] in {"µs", "KB"})


async def test_unknown_part_is_refused() -> None:
    command = [sys.executable, "-m", "tests.benchmarks.bench_gateway", "--only", "http,other"]
    child = await Child.start("bench", command)
    assert await child.wait() == 2
    await child.stop()
    assert "no part other; there are relay, memory, http" in child.log_tail(1)[0]
