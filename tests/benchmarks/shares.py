"""Which share of the requests each endpoint gets: the same pool, policy and requests on Janua and on Envoy."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.client import VoidRunError
from tests.benchmarks.closed_loop import ask_all
from tests.benchmarks.comparison import Check
from tests.benchmarks.endpoint_process import EndpointProcess
from tests.benchmarks.fault_endpoint import MODEL
from tests.benchmarks.pool import KEY_HEADER, Pool
from tests.benchmarks.systems import StartSystem, System, running_envoy, running_janua

MOST_APART = 0.02
"""By how much the share of an endpoint may differ between the two, as a part of all requests."""
_CONNECTIONS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareCase:
    """What is compared: a policy, and the endpoints' weights."""

    policy: str
    weights: tuple[int, ...]

    @property
    def what(self) -> str:
        """In words."""
        return f"{self.policy.lower().replace('_', ' ')}, weights {':'.join(map(str, self.weights))}"


CASES = (
    ShareCase(policy="ROUND_ROBIN", weights=(1, 2, 3)),
    ShareCase(policy="LEAST_REQUEST", weights=(1, 1, 1)),
    ShareCase(policy="LEAST_REQUEST", weights=(1, 2, 3)),
    # Envoy's random choice does not look at weights.
    ShareCase(policy="RANDOM", weights=(1, 1, 1)),
    # A ring's shares are as even as its points are many, and those come with the weights.
    ShareCase(policy="RING_HASH", weights=(64, 64, 64)),
    ShareCase(policy="MAGLEV", weights=(1, 1, 1)),
    ShareCase(policy="MAGLEV", weights=(1, 2, 3)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """What both did in one case: the shares of the endpoints, each a part of all requests."""

    case: ShareCase
    requests: int
    janua: tuple[float, ...]
    envoy: tuple[float, ...]

    @property
    def apart(self) -> float:
        """The largest difference between the two for one endpoint."""
        return max(abs(ours - theirs) for ours, theirs in zip(self.janua, self.envoy, strict=True))

    def check(self) -> Check:
        """Against the target."""
        return Check(
            what=f"shares of endpoints, {self.case.what}",
            found=f"{100 * self.apart:.2f} % apart",
            wanted=f"at most {100 * MOST_APART:g} %",
            met=self.apart <= MOST_APART,
        )


async def compare_shares(
    case: ShareCase,
    endpoints: Sequence[EndpointProcess],
    *,
    requests: int,
    directory: Path,
    core: int | None,
) -> Shares:
    """Measures one after the other. Raises `VoidRunError`."""
    addresses = tuple(endpoint.address for endpoint in endpoints)
    # No time limit: a request that is sent twice would count twice.
    pool = Pool(addresses=addresses, weights=case.weights, policy=case.policy, per_try_s=None)

    async def measure(start: StartSystem) -> tuple[float, ...]:
        async with start(pool, directory, core) as system:
            return await _measure(system, endpoints, requests)

    return Shares(case=case, requests=requests, janua=await measure(running_janua), envoy=await measure(running_envoy))


async def _measure(system: System, endpoints: Sequence[EndpointProcess], requests: int) -> tuple[float, ...]:
    before = [(await endpoint.served()).requests for endpoint in endpoints]
    await ask_all(system.address, _requests(system.address, requests), connections=_CONNECTIONS)
    after = [(await endpoint.served()).requests for endpoint in endpoints]
    got = [now - then for now, then in zip(after, before, strict=True)]
    if sum(got) != requests:
        raise VoidRunError(f"{requests} requests to {system.name} have become {sum(got)} at the endpoints")
    return tuple(each / requests for each in got)


def _requests(address: str, count: int) -> Iterator[bytes]:
    """Chat completions, each with a key of its own."""
    body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}).encode()
    start = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n"
    for number in range(count):
        head = f"{start}content-length: {len(body)}\r\n{KEY_HEADER}: session-{number}\r\n\r\n"
        yield head.encode() + body
