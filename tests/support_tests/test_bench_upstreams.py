"""The parts of the benchmark of upstreams: endpoints suffer as told, load does not wait, and what is found is judged
rightly."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from janua_client.processes import Child

from tests.benchmarks.client import Client, VoidRunError, open_client
from tests.benchmarks.closed_loop import ask_all
from tests.benchmarks.comparison import Check
from tests.benchmarks.endpoint_process import EndpointProcess, running_endpoints
from tests.benchmarks.envoy_bootstrap import envoy_bootstrap
from tests.benchmarks.failover import Failover
from tests.benchmarks.fault_endpoint import Mode
from tests.benchmarks.flips import Flips
from tests.benchmarks.open_loop import OpenLoop, percentile
from tests.benchmarks.pool import Checks, Outliers, Pool
from tests.benchmarks.shares import CASES, Shares
from tests.benchmarks.sufferings import SUFFERINGS, Suffering, killed, stopped
from tests.benchmarks.upstreams_report import Report
from tests.benchmarks.watch import Watch
from tests.support import scripts
from tests.support.components import find_program
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import json_response
from tests.support.polling import eventually

KILL, STOP, SLOW, STORM, RESET, FLAPPING = SUFFERINGS


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with open_client() as client:
        yield client


@pytest.fixture
async def endpoint() -> AsyncIterator[EndpointProcess]:
    async with running_endpoints(1, delay_s=0.02) as (endpoint,):
        yield endpoint


# Endpoints.


async def test_an_endpoint_does_what_it_is_told_and_counts(endpoint: EndpointProcess, client: Client) -> None:
    loop = asyncio.get_running_loop()
    assert await client.ask(endpoint.address) is None
    await endpoint.turn(Mode.SLOW)
    began = loop.time()
    assert await client.ask(endpoint.address) is None
    assert loop.time() - began >= 0.19
    await endpoint.turn(Mode.UNAVAILABLE)
    assert (await client.ask(endpoint.address) or "").startswith("status 503")
    await endpoint.turn(Mode.RESET)
    assert "reset by peer" in (await client.ask(endpoint.address) or "")
    await endpoint.turn(Mode.WELL)
    assert await client.ask(endpoint.address) is None
    served = await endpoint.served()
    assert (served.requests, served.connections) == (5, 2)


async def test_a_killed_endpoint_comes_back_where_it_was(endpoint: EndpointProcess, client: Client) -> None:
    suffering = asyncio.create_task(killed(endpoint, 0.1))

    async def is_gone() -> bool:
        return "Cannot connect" in (await client.ask(endpoint.address) or "")

    await eventually(is_gone)
    await suffering
    assert await client.ask(endpoint.address) is None


async def test_a_stopped_endpoint_answers_once_it_goes_on(endpoint: EndpointProcess, client: Client) -> None:
    suffering = asyncio.create_task(stopped(endpoint, 0.3))
    await asyncio.sleep(0)
    asking = asyncio.create_task(client.ask(endpoint.address))
    await suffering
    assert not asking.done()
    assert await asking is None


async def test_a_stopped_endpoint_can_be_ended() -> None:
    async with running_endpoints(1) as (endpoint,):
        endpoint.freeze()
    assert endpoint.child.returncode == 0


# Load.


async def test_a_request_that_hangs_does_not_hold_up_those_that_are_due() -> None:
    gate = asyncio.Event()
    asked: list[int] = []

    async def ask(number: int) -> str | None:
        asked.append(number)
        if number == 0:
            await gate.wait()
        if number == 20:
            load.stop()
            gate.set()
        return "wrong" if number == 1 else None

    load = OpenLoop(ask, rate=1000)
    sent = await load.run()
    assert asked == list(range(len(sent)))
    in_order = sorted(sent, key=lambda each: each.due)
    assert [later.due - sooner.due for sooner, later in pairwise(in_order)] == pytest.approx([0.001] * (len(sent) - 1))
    assert [each.fault for each in in_order[:3]] == [None, "wrong", None]
    assert in_order[0].took_s >= 0.02
    assert all(each.took_s >= each.late_s >= 0 for each in sent)


@pytest.mark.parametrize(("percent", "value"), [(0, 1), (50, 50), (99, 99), (99.5, 100), (100, 100)])
def test_percentiles_of_a_hundred(percent: float, value: float) -> None:
    assert percentile(range(100, 0, -1), percent) == value
    assert percentile([7], percent) == 7


async def test_every_request_of_a_closed_loop_is_sent_once(faulty_upstream: FaultyUpstream) -> None:
    faulty_upstream.script = scripts.answer(json_response(200, {}))
    requests = (f"GET /{number} HTTP/1.1\r\nhost: x\r\n\r\n".encode() for number in range(50))
    await ask_all(faulty_upstream.address, requests, connections=4)
    assert sorted(int(request.target[1:]) for request in faulty_upstream.requests) == list(range(50))


@pytest.mark.parametrize("fault", [scripts.fail(503), scripts.reset()])
async def test_one_bad_answer_voids_a_closed_loop(faulty_upstream: FaultyUpstream, fault: scripts.Script) -> None:
    faulty_upstream.script = scripts.answer(json_response(200, {}))
    faulty_upstream.next.extend([faulty_upstream.script] * 10 + [fault])
    with pytest.raises(VoidRunError):
        await ask_all(faulty_upstream.address, iter([b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"] * 20), connections=2)


class Told:
    """A system that leaves out what it is told to."""

    name = "told"
    address = ""

    def __init__(self) -> None:
        self.out: frozenset[str] = frozenset()
        self._looks = 0

    async def left_out(self) -> frozenset[str]:
        self._looks += 1
        return self.out

    async def tell(self, *out: str) -> None:
        """Leaves these out from now on, and returns once that has been seen."""
        self.out = frozenset(out)
        enough = self._looks + 2

        async def is_seen() -> bool:
            return self._looks >= enough

        await eventually(is_seen)


async def test_a_watch_notes_when_an_endpoint_goes_and_comes() -> None:
    system = Told()
    watch = Watch(system, "a")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(watch.run())
        for out, changes in (("b", 0), ("ab", 1), ("b", 2), ("a", 3)):
            await system.tell(*out)
            assert len(watch.changes) == changes
            assert watch.is_out == ("a" in out)
        await watch.until_calm(0.01, most_s=0.1)
        assert watch.is_out
        system.out = frozenset()
        await watch.until_calm(0.1, most_s=10)
        watch.stop()
    assert not watch.is_out
    assert watch.changes == sorted(watch.changes)


# What is found.


def met(checks: list[Check]) -> list[bool]:
    return [check.met for check in checks]


@pytest.mark.parametrize(
    ("suffering", "out_after_s", "back_after_s"),
    [(KILL, 0.5, 0.5), (STOP, 0.325, 0.5), (STORM, 0.075, 2.0), (FLAPPING, 0.075, 0.5)],
    ids=lambda value: value.name if isinstance(value, Suffering) else "",
)
def test_times_follow_from_the_configuration(suffering: Suffering, out_after_s: float, back_after_s: float) -> None:
    """Of three endpoints at 200 requests a second each gets one in 15 ms."""
    pool = suffering.pool(("a", "b", "c"))
    assert suffering.out_after_s(pool, rate=200) == pytest.approx(out_after_s)
    assert suffering.back_after_s == back_after_s


GOOD = Failover(
    system="Janua",
    suffering=STORM,
    requests=1000,
    failures=(),
    normal_p99_s=0.05,
    fault_p99_s=0.2,
    out_after_s=0.1,
    back_after_s=2.1,
    wanted_out_s=0.075,
)


@pytest.mark.parametrize(
    ("found", "targets"),
    [
        (GOOD, [True, True, True, True]),
        (replace(GOOD, failures=("status 503",)), [False, True, True, True]),
        (replace(GOOD, out_after_s=0.6, fault_p99_s=0.71), [True, False, True, False]),
        (replace(GOOD, out_after_s=None), [True, False, True, False]),
        (replace(GOOD, back_after_s=1.4), [True, True, False, True]),
        (replace(GOOD, back_after_s=None), [True, True, False, True]),
        (replace(GOOD, fault_p99_s=0.21), [True, True, True, False]),
    ],
)
def test_targets_of_a_failover(found: Failover, targets: list[bool]) -> None:
    assert met(found.checks()) == targets


@pytest.mark.parametrize(("envoy", "is_met"), [((0.25, 0.75), True), ((0.269, 0.731), True), ((0.275, 0.725), False)])
def test_shares_may_be_two_per_cent_of_all_requests_apart(envoy: tuple[float, float], is_met: bool) -> None:
    shares = Shares(case=CASES[0], requests=100, janua=(0.25, 0.75), envoy=envoy)
    assert shares.check().met is is_met


FLIPPED = Flips(
    flips=100, seconds=10, requests=2000, failures=(), new_connections=0, is_health_kept=True, is_breaker_kept=True
)


@pytest.mark.parametrize(
    ("found", "targets"),
    [
        (FLIPPED, [True, True, True, True]),
        (replace(FLIPPED, failures=("x",)), [False, True, True, True]),
        (replace(FLIPPED, new_connections=1), [True, False, True, True]),
        (replace(FLIPPED, is_health_kept=False), [True, True, False, True]),
        (replace(FLIPPED, is_breaker_kept=False), [True, True, True, False]),
    ],
)
def test_targets_of_flips(found: Flips, targets: list[bool]) -> None:
    assert met(found.checks()) == targets


def test_only_janua_has_targets_in_a_report() -> None:
    beside = replace(GOOD, system="Envoy", failures=("status 503",))
    report = Report(failovers=(GOOD, beside), flips=FLIPPED)
    assert met(report.checks()) == [True] * 8
    figures = json.loads(report.as_json())
    assert [(each["system"], each["suffering"]) for each in figures["failovers"]] == [
        ("Janua", "503 storm"),
        ("Envoy", "503 storm"),
    ]
    assert len(report.tables()) == 2


# The real Envoy.


@pytest.mark.component("envoy")
@pytest.mark.parametrize("policy", sorted({case.policy for case in CASES}))
async def test_envoy_takes_every_pool(policy: str, tmp_path: Path) -> None:
    program = find_program("envoy")
    assert program is not None
    pool = Pool(
        addresses=("127.0.0.1:1", "127.0.0.1:2"), weights=(1, 3), policy=policy, checks=Checks(), outliers=Outliers()
    )
    file = tmp_path / "envoy.json"
    file.write_text(json.dumps(envoy_bootstrap(pool)))
    child = await Child.start("envoy", [program, "--mode", "validate", "-c", str(file), "--log-level", "warning"])
    assert await child.wait() == 0, child.log_tail()
    await child.stop()


@pytest.mark.soak
@pytest.mark.component("envoy")
@pytest.mark.timeout(180)
@pytest.mark.skipif(sys.platform != "linux", reason="pins processes to cores")
async def test_short_run_measures_both_and_stops_everything(tmp_path: Path) -> None:
    """Its figures mean nothing, so neither does whether the targets are met."""
    options = ("--short", "--json", str(tmp_path / "found.json"))
    child = await Child.start("bench", [sys.executable, "-m", "tests.benchmarks.bench_upstreams", *options])
    assert await child.wait() in {0, 1}, child.log_tail()
    await child.stop()
    assert (tmp_path / "found.json").exists(), child.log_tail()
    found = json.loads((tmp_path / "found.json").read_text())
    assert [sum(each[system]) for each in found["shares"] for system in ("janua", "envoy")] == pytest.approx([1, 1])
    assert [each["system"] for each in found["failovers"]] == ["Janua", "Envoy"]
    assert all(each["requests"] > 300 for each in found["failovers"])
    assert found["flips"]["flips"] == 5
    assert len(found["checks"]) == 1 + 4 + 4
