"""What tests of calls to upstreams have in common: requests, pools, and a loop whose clock can be put forward."""

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Any

from gateway.config.upstream import (
    BalancingConfig,
    BalancingPolicy,
    EndpointConfig,
    EndpointState,
    HealthCheckConfig,
    HttpProbe,
    UpstreamConfig,
)
from gateway.context import RequestContext
from gateway.schemas.table import OPENAI_CHAT
from gateway.types import Operation
from gateway.upstream.answer import Answer
from gateway.upstream.cluster import Cluster
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.http_inference import HttpInference
from gateway.upstream.lease import Lease
from tests.support import scripts
from tests.support.http_wire import chunked_response, json_response, sse

# One good answer, whole and as a stream with its events.
WHOLE = json_response(200, scripts.chat_completion("hello there", model="m"))
EVENTS = sse(*scripts.chat_events("hello there", model="m"))
STREAM = chunked_response(EVENTS)
ROLE, HELLO, THERE, FINISH, DONE = EVENTS

CHECK = HealthCheckConfig(
    probe=HttpProbe(path="/health"),
    interval_s=3600,
    unhealthy_interval_s=3600,
    timeout_s=5,
    jitter_s=0,
    unhealthy_threshold=1,
    healthy_threshold=1,
)

CHAT = OPENAI_CHAT
PATH = "/v1/chat/completions"
FAR_AWAY_S = 1000.0


class InOrder(Random):
    """No chance at all: what is drawn is the first."""

    def random(self) -> float:
        return 0.0


def chat_request(*, stream: bool = False, **changes: Any) -> HttpInference[Any]:
    """A chat completion for any upstream. All time limits are far away."""
    fields: dict[str, Any] = {
        "dialect": CHAT,
        "path": PATH,
        "headers": [("content-type", "application/json")],
        "body": b'{"model":"m","messages":[],"stream":true}' if stream else b'{"model":"m","messages":[]}',
        "is_streaming": stream,
        "connect_timeout_s": FAR_AWAY_S,
        "first_content_timeout_s": None,
        "stream_idle_timeout_s": FAR_AWAY_S,
        "deadline": asyncio.get_running_loop().time() + FAR_AWAY_S,
        "rename_model_to": None,
    }
    return HttpInference(**(fields | changes))


def endpoint_config(address: str, *, weight: int = 1, state: EndpointState = EndpointState.ACTIVE) -> EndpointConfig:
    """An endpoint at `host:port`."""
    return EndpointConfig(address=address, url=f"http://{address}", weight=weight, state=state)


def upstream_config(
    *addresses: str,
    name: str = "pool",
    idle_timeout_s: float = 60.0,
    policy: BalancingPolicy = BalancingPolicy.ROUND_ROBIN,
    health_checks: Sequence[HealthCheckConfig] = (),
) -> UpstreamConfig:
    """A pool of these endpoints."""
    return UpstreamConfig(
        name=name,
        endpoints=tuple(endpoint_config(address) for address in addresses),
        idle_timeout_s=idle_timeout_s,
        balancing=BalancingConfig(policy=policy),
        health_checks=tuple(health_checks),
    )


def cluster_of(*addresses: str) -> Cluster:
    """A live pool of these endpoints, used in turn from the first on. Its connections must be closed."""
    return Cluster(upstream_config(*addresses), random=InOrder())


async def attempt(cluster: Cluster, endpoint: Endpoint, request: HttpInference[Any]) -> Answer:
    """One attempt, with a lease of its own."""
    assert cluster.breaker.try_acquire()
    lease = Lease(cluster, endpoint)
    try:
        return (await request.send(lease)).answer
    except BaseException:
        lease.close()
        raise


def context() -> RequestContext:
    """A request on its way."""
    return RequestContext(
        request_id="r-1",
        protocol="http",
        operation=Operation.CHAT,
        method="POST",
        path=PATH,
        host="",
        query_string=b"",
        headers={},
        model="m",
        is_streaming=False,
        client_address="",
        started=0.0,
    )


def until(data: bytes, piece: bytes) -> int:
    """Where the chunk with this piece begins in the data."""
    return data.index(piece) - len(f"{len(piece):x}\r\n")


async def turns(count: int = 100) -> None:
    """Lets the loop go round so often that whatever can happen on local sockets has happened."""
    for _ in range(count):
        await asyncio.sleep(0)


class LoopClock:
    """Puts the running loop's clock forward, so that its timers fire without waiting."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._forward = 0.0
        real = loop.time
        loop.time = lambda: real() + self._forward  # type: ignore[method-assign]  # of this test's loop alone

    async def advance(self, seconds: float) -> None:
        """Puts the clock forward and lets everything that is due then happen."""
        self._forward += seconds
        await turns()
