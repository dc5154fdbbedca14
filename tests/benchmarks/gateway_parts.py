"""The parts of the gateway benchmark that a node with a small configuration takes: each measures and makes rows."""

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import TypeAlias

import aiohttp

from tests.benchmarks.gateway_rows import Row, slowness_of
from tests.benchmarks.mock_upstream import MODEL
from tests.benchmarks.procfs import cpu_seconds
from tests.benchmarks.rig import API_KEY, KEPT, LIMITED, Load, Rig, Sample, Target, run_program
from tests.support.polling import eventually

UNARY: Mapping[str, object] = {"model": MODEL, "messages": [{"role": "user", "content": "x" * 900}]}
STREAM: Mapping[str, object] = {**UNARY, "stream": True}
PACED: Mapping[str, object] = {**STREAM, "user": "paced"}

LIMITED_UNARY: Mapping[str, object] = {**UNARY, "model": LIMITED}
_LARGE: Mapping[str, object] = {**LIMITED_UNARY, "messages": [{"role": "user", "content": "x" * 100_000}]}
_ANTHROPIC: Mapping[str, object] = {**LIMITED_UNARY, "max_tokens": 100}
_STREAMS_AT_ONCE = 200
_STARTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is measured. `requests`: of a round, a fifth of it for streams; `seconds`: at a fixed rate."""

    requests: int
    rounds: int
    seconds: float


class Bench:
    """Measures on a rig."""

    def __init__(self, rig: Rig, size: Size) -> None:
        self.rig = rig
        self.size = size

    async def slowness(self) -> float:
        """How slow the machine is at the moment."""
        load = Load(name="yardstick", body=UNARY, requests=max(64, self.size.requests // 3))
        return slowness_of((await self.rig.measure(self.rig.floor, load)).cpu_us, self.rig.server)

    def _target(self, hypercorn: float, granian: float) -> float:
        """What is aimed at on the server of this run."""
        return granian if self.rig.server == "granian" else hypercorn

    @property
    def _all(self) -> list[Target]:
        return [target for target in (self.rig.floor, self.rig.envoy, self.rig.node) if target is not None]

    async def _rounds(self, load: Load, targets: Sequence[Target]) -> "_Found":
        """Measures the targets in turn, in another order each round, and the machine's slowness meanwhile."""
        samples: dict[str, list[Sample]] = {target.name: [] for target in targets}
        slowness = []
        for number in range(self.size.rounds):
            slowness.append(await self.slowness())
            for target in targets if number % 2 == 0 else reversed(targets):
                samples[target.name].append(await self.rig.measure(target, load))
        return _Found(self.rig, samples, statistics.median(slowness))

    async def http(self) -> list[Row]:
        """CPU of requests and of pieces of streams."""
        size = self.size
        streams = max(1, size.requests // 5)
        small = await self._rounds(Load(name="1 KB", body=LIMITED_UNARY, requests=size.requests), self._all)
        large = await self._rounds(Load(name="100 KB", body=_LARGE, requests=size.requests // 2), self._all)
        joined = Load(name="joined", body={**STREAM, "model": LIMITED}, requests=streams)
        chunks = await self._rounds(joined, self._all)
        return [
            small.row("CPU, request of 1 KB", "µs", _cpu, most=self._target(590, 280)),
            large.row("CPU, request of 100 KB", "µs", _cpu, most=self._target(800, 500)),
            chunks.row("CPU, chunk of 100 that come together", "µs", _cpu_of_event, most=self._target(12, 10)),
        ]

    async def paced(self) -> list[Row]:
        """200 streams at a time, of a chunk every ten milliseconds: CPU, and the time to the first one."""
        load = Load(
            name="timed",
            body={**STREAM, "model": LIMITED, "user": "timed"},
            requests=max(_STREAMS_AT_ONCE, self.size.requests // 5),
            connections=_STREAMS_AT_ONCE,
            spread_s=1.0,
        )
        found = await self._rounds(load, [self.rig.mock, *self._all])
        what = f"first chunk later than without, {_STREAMS_AT_ONCE} paced streams"
        return [
            found.row(
                f"CPU, chunk of {_STREAMS_AT_ONCE} paced streams", "µs", _cpu_of_event, most=self._target(45, 35)
            ),
            found.row(
                f"{what}, p50", "ms", lambda sample: sample.first_p50_ms, most=self._target(20, 3), is_added=True
            ),
            found.row(
                f"{what}, p99", "ms", lambda sample: sample.first_p99_ms, most=self._target(60, 30), is_added=True
            ),
        ]

    async def latency(self) -> list[Row]:
        """Latency at 50 requests a second, counted from when each was due."""
        slowness = await self.slowness()
        body = self.rig.directory / "latency.json"
        body.write_text(json.dumps(LIMITED_UNARY, separators=(",", ":")))
        found = {}
        for target in (self.rig.mock, *self._all):
            options = ("--rate", "50", "--seconds", str(self.size.seconds), "--key", API_KEY)
            found[target.name] = await run_program(
                "tests.benchmarks.fixed_rate_load", target.address, str(body), *options
            )
        slowness = (slowness + await self.slowness()) / 2

        def row(percent: str, most: float) -> Row:
            def added(target: Target | None) -> float | None:
                return None if target is None else found[target.name][percent] - found[self.rig.mock.name][percent]

            return Row(
                what=f"latency added at 50 requests/s, {percent.removesuffix('_ms')}",
                unit="ms",
                node=added(self.rig.node) or 0.0,
                floor=added(self.rig.floor),
                envoy=added(self.rig.envoy),
                most=most,
                slowness=slowness,
            )

        return [row("p50_ms", self._target(2.5, 1.2)), row("p99_ms", self._target(5, 3))]

    async def cache(self) -> list[Row]:
        """A kept answer against one that is forwarded, one after the other: the machine's speed changes from minute to
        minute."""
        forwarded = Load(name="forwarded", body=LIMITED_UNARY, requests=self.size.requests)
        kept = replace(forwarded, name="kept", body={**UNARY, "model": KEPT})
        await self._expect_hit()
        cost, gain, slowness = [], [], []
        for number in range(self.size.rounds):
            slowness.append(await self.slowness())
            loads = (forwarded, kept) if number % 2 == 0 else (kept, forwarded)
            cpu = {load.name: (await self.rig.measure(self.rig.node, load)).cpu_us for load in loads}
            cost.append(cpu[kept.name])
            gain.append(cpu[forwarded.name] / cpu[kept.name])
        return [
            Row(
                what="CPU, answer from the cache",
                unit="µs",
                node=statistics.median(cost),
                slowness=statistics.median(slowness),
            ),
            Row(
                what="a forwarded request costs as many kept answers",
                unit="times",
                node=statistics.median(gain),
                least=self._target(1.4, 2.2),
            ),
        ]

    async def _expect_hit(self) -> None:
        url, headers = f"http://{self.rig.node.address}/v1/chat/completions", {"x-api-key": API_KEY}
        async with aiohttp.ClientSession() as session:
            async with session.post(url, json={**UNARY, "model": KEPT}, headers=headers) as first:
                await first.read()
            async with session.post(url, json={**UNARY, "model": KEPT}, headers=headers) as answer:
                assert answer.headers["x-janua-cache"] == "hit", "the cache did not answer"

    async def dialects(self) -> list[Row]:
        """Clients of Anthropic's API before an OpenAI backend."""
        load = Load(name="messages", body=_ANTHROPIC, requests=self.size.requests, path="/v1/messages")
        stream = replace(
            load,
            name="messages, joined",
            body={**_ANTHROPIC, "stream": True},
            requests=max(1, self.size.requests // 5),
            end="message_stop",
        )
        whole, pieces = await self._rounds(load, [self.rig.node]), await self._rounds(stream, [self.rig.node])
        return [
            whole.row("CPU, Anthropic client → OpenAI backend, 1 KB", "µs", _cpu),
            pieces.row("CPU, the same, event of 100 that come together", "µs", _cpu_of_event),
        ]

    async def grpc(self) -> list[Row]:
        """Chat over gRPC before an HTTP backend."""
        slowness = await self.slowness()
        calls, _ = await self._grpc(max(64, self.size.requests // 2))
        streams, messages = await self._grpc(max(64, self.size.requests // 10), "--stream")
        slowness = (slowness + await self.slowness()) / 2
        return [
            Row(what="CPU, gRPC call → HTTP backend", unit="µs", node=calls, most=700, slowness=slowness),
            Row(what="CPU, gRPC message of a stream", unit="µs", node=streams / messages, most=80, slowness=slowness),
        ]

    async def _grpc(self, requests: int, *options: str) -> tuple[float, float]:
        """CPU time of a call in microseconds, and how many messages its answer has."""
        node = self.rig.node
        load = ("tests.benchmarks.grpc_load", node.grpc, LIMITED, "--key", API_KEY, *options)
        await run_program(*load, "--requests", "64")
        before = cpu_seconds(node.pid)
        found = await run_program(*load, "--requests", str(requests))
        used = cpu_seconds(node.pid) - before
        return used / requests * 1e6, int(found["events"]) / requests

    async def start(self) -> list[Row]:
        """From nothing to the first answer, configuration from a server included."""
        slowness = await self.slowness()
        took = [await self._start(number) for number in range(_STARTS)]
        what = "start to first answer"
        return [Row(what=what, unit="s", node=statistics.median(took), most=1.0, slowness=slowness)]

    async def _start(self, number: int) -> float:
        headers = {"authorization": f"Bearer {API_KEY}"}
        async with AsyncExitStack() as stack, aiohttp.ClientSession(headers=headers) as session:
            began = time.perf_counter()
            child = await self.rig.start_node(stack, f"started-{number}")
            ready = await child.ready(30)

            async def is_answered() -> bool:
                async with session.post(f"http://{ready['http']}/v1/chat/completions", json=UNARY) as answer:
                    return answer.status == 200

            await eventually(is_answered)
            return time.perf_counter() - began


_Figure: TypeAlias = Callable[[Sample], float]


def _cpu(sample: Sample) -> float:
    return sample.cpu_us


def _cpu_of_event(sample: Sample) -> float:
    return sample.cpu_us_per_event


class _Found:
    """What rounds over several targets have found."""

    def __init__(self, rig: Rig, samples: Mapping[str, Sequence[Sample]], slowness: float) -> None:
        self.slowness = slowness
        self._rig = rig
        self._samples = samples

    def median(self, target: Target, figure: _Figure) -> float:
        return statistics.median(map(figure, self._samples[target.name]))

    def row(self, what: str, unit: str, figure: _Figure, *, most: float | None = None, is_added: bool = False) -> Row:
        """The figure of each target; with `is_added` what is more than without anything between."""
        less = self.median(self._rig.mock, figure) if is_added else 0.0

        def of(target: Target | None) -> float | None:
            if target is None or target.name not in self._samples:
                return None
            return self.median(target, figure) - less

        return Row(
            what=what,
            unit=unit,
            node=self.median(self._rig.node, figure) - less,
            floor=of(self._rig.floor),
            envoy=of(self._rig.envoy),
            most=most,
            slowness=self.slowness,
        )
