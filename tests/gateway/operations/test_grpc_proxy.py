"""gRPC calls on their way to a backend: which paths are taken, what a backend is told, and what can be sent again."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.snapshot import (
    Exact,
    Failure,
    PathMatch,
    Prefix,
    RetryConfig,
    RewriteConfig,
    RouteConfig,
    RouteMatch,
    ServiceConfig,
    UpstreamTarget,
)
from gateway.config.upstream import UpstreamConfig, UpstreamProtocol
from gateway.errors import InvalidRequestError, TimeoutExceededError, UpstreamStatusError
from gateway.operations.grpc_proxy import GrpcProxyInbound, GrpcProxyRequest, checked_method
from gateway.operations.replay import ReplayableParts
from gateway.plan import BackendPlan
from gateway.providers.outbound import OutboundHeaders
from gateway.schemas.table import SCHEMAS
from gateway.telemetry.metrics import Metrics
from gateway.types import Schema
from gateway.upstream.call import Caller
from gateway.upstream.cluster import Cluster
from gateway.upstream.lease import Lease
from gateway.upstream.relayed_call import RelayedCall
from gateway.upstream.retry import AttemptFailedError
from tests.gateway.upstream.calls import FAR_AWAY_S, InOrder, context, endpoint_config
from tests.support.grpc_backend import BackendCall, GrpcBackend

PATH = "/test.Service/Method"

name = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*", fullmatch=True)


# Paths.


@given(package=st.lists(name, min_size=1), method=name)
def test_path_of_a_method_is_taken_as_it_is(package: list[str], method: str) -> None:
    path = f"/{'.'.join(package)}/{method}"
    assert checked_method(path) == path


@given(st.text())
def test_path_that_is_taken_has_two_segments_without_dots_of_their_own(path: str) -> None:
    try:
        checked_method(path)
    except InvalidRequestError:
        return
    assert path.isascii()
    _, service, method = path.split("/")
    assert all(service.split("."))
    assert method.isidentifier()


@pytest.mark.parametrize(
    "path", ["", "/", "a.B/C", "/C", "/a.B/", "//C", "/a.B/C/", "/a.B/C/D", "/../C", "/a.B/..", "/a..B/C", "/a.B/C\n"]
)
def test_other_path_is_refused(path: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"/package\.Service/Method"):
        checked_method(path)


# What a backend is told.


@pytest.fixture
async def backend() -> AsyncIterator[GrpcBackend]:
    backend = GrpcBackend()
    await backend.start()
    yield backend
    await backend.stop()


@pytest.fixture
async def cluster(backend: GrpcBackend) -> AsyncIterator[Cluster]:
    cluster = cluster_of(backend.address)
    yield cluster
    assert cluster.endpoints[0].active_requests == 0
    async with asyncio.timeout(5):
        await cluster.connections.close_when_idle()


def cluster_of(address: str, protocol: UpstreamProtocol = UpstreamProtocol.GRPC) -> Cluster:
    config = UpstreamConfig(name="pool", endpoints=(endpoint_config(address),), protocol=protocol)
    return Cluster(config, random=InOrder())


def plan(*, prefix: str = "", per_try_timeout_s: float | None = None) -> BackendPlan:
    return BackendPlan(
        service=ServiceConfig(name="s", target=UpstreamTarget(upstream="pool"), schema=Schema.PASSTHROUGH),
        family=SCHEMAS[Schema.PASSTHROUGH],
        cluster="pool",
        headers=OutboundHeaders(own=(), stripped=frozenset()),
        path_prefix=prefix,
        model_override=None,
        retry=RetryConfig(per_try_timeout_s=per_try_timeout_s),
        connect_timeout_s=None,
        request_timeout_s=FAR_AWAY_S,
        first_token_timeout_s=FAR_AWAY_S,
        stream_idle_timeout_s=FAR_AWAY_S,
    )


class Messages:
    """What a caller sends: these, and then nothing until it is told to end."""

    def __init__(self, *messages: bytes, is_complete: bool = True) -> None:
        self._messages = list(messages)
        self._is_complete = is_complete
        self.parts = ReplayableParts(self.read)

    async def read(self) -> bytes | None:
        if self._messages:
            return self._messages.pop(0)
        if not self._is_complete:
            await asyncio.Event().wait()
        return None


def inbound(
    messages: Messages,
    *,
    metadata: Sequence[tuple[bytes, bytes]] = (),
    match: PathMatch | None = None,
    rewrite: RewriteConfig | None = None,
) -> GrpcProxyInbound:
    route = RouteConfig(name="r", match=RouteMatch(path=match), backends=(), rewrite=rewrite)
    return GrpcProxyInbound(route, path=PATH, metadata=metadata, messages=messages.parts)


def request(call: GrpcProxyInbound, cluster: Cluster, backend: BackendPlan | None = None) -> GrpcProxyRequest:
    deadline = asyncio.get_running_loop().time() + FAR_AWAY_S
    return call.for_backend(context(), backend or plan(), cluster, deadline)


async def attempt(sent: GrpcProxyRequest, cluster: Cluster) -> RelayedCall:
    assert cluster.breaker.try_acquire()
    lease = Lease(cluster, cluster.endpoints[0])
    try:
        return await sent.send(lease)
    except BaseException:
        lease.close()
        raise


@pytest.mark.parametrize(
    ("match", "rewrite", "prefix", "path"),
    [
        (None, None, "", PATH),
        (Prefix("/"), None, "/base", f"/base{PATH}"),
        (Prefix("/test.Service"), RewriteConfig(path_prefix="/new.Name"), "", "/new.Name/Method"),
        (Exact(PATH), RewriteConfig(path_prefix="/new.Name/Other"), "", "/new.Name/Other"),
        (Prefix("/"), RewriteConfig(host="h"), "", PATH),
    ],
)
async def test_path_that_the_backend_sees(
    cluster: Cluster,
    backend: GrpcBackend,
    match: PathMatch | None,
    rewrite: RewriteConfig | None,
    prefix: str,
    path: str,
) -> None:
    call = inbound(Messages(b"a"), match=match, rewrite=rewrite)
    answer = await attempt(request(call, cluster, plan(prefix=prefix)), cluster)
    assert await answer.read() == b"A"
    await call.discard(answer)
    assert [each.method for each in backend.calls] == [path]


async def test_request_shows_nothing_of_its_metadata(cluster: Cluster) -> None:
    call = inbound(Messages(), metadata=[(b"x-secret", b"sesame")])
    assert "sesame" not in repr(request(call, cluster))


async def test_service_that_speaks_http() -> None:
    cluster = cluster_of("127.0.0.1:1", UpstreamProtocol.HTTP1)
    with pytest.raises(InvalidRequestError, match="service s speaks HTTP") as caught:
        request(inbound(Messages()), cluster)
    assert caught.value.reason == "UNSUPPORTED_BY_SERVICE"
    await cluster.connections.close()


@pytest.mark.parametrize("value", [b"caf\xc3\xa9", b"\xff", b"a\nb", b"\x7f"])
async def test_metadata_that_grpc_cannot_carry_is_refused_by_name(cluster: Cluster, value: bytes) -> None:
    with pytest.raises(InvalidRequestError, match="x-odd"):
        request(inbound(Messages(), metadata=[(b"x-good", b"a"), (b"x-odd", value)]), cluster)
    request(inbound(Messages(), metadata=[(b"x-odd-bin", value)]), cluster)


# What can be sent again.


async def test_messages_that_are_still_coming_are_for_one_at_a_time(cluster: Cluster, backend: GrpcBackend) -> None:
    """A copy would read them from under the call; another attempt after this one would not."""
    messages = Messages(b"a", is_complete=False)
    sent = request(inbound(messages), cluster)
    assert not sent.is_repeatable
    answer = await attempt(sent, cluster)
    assert sent.is_repeatable
    await answer.close()


async def test_messages_that_are_all_there_are_for_any_number(cluster: Cluster) -> None:
    messages = Messages(b"a")
    await messages.parts.read_all()
    assert request(inbound(messages), cluster).is_repeatable


async def test_forgotten_messages_make_the_first_failure_the_last(cluster: Cluster, backend: GrpcBackend) -> None:
    async def fail(call: BackendCall) -> None:
        await call.receive_all()
        await call.fail("UNAVAILABLE", "first")

    backend.script = fail
    call = inbound(Messages(bytes(40_000), bytes(40_000)))
    sent = request(call, cluster)
    with pytest.raises(AttemptFailedError, match="first"):
        await attempt(sent, cluster)
    assert not sent.is_repeatable
    # A backend of the route that is tried next has a request of its own.
    with pytest.raises(AttemptFailedError, match="first"):
        await attempt(request(call, cluster), cluster)
    assert len(backend.calls) == 1


async def test_try_that_takes_too_long(cluster: Cluster, backend: GrpcBackend) -> None:
    async def hang(call: BackendCall) -> None:
        await call.hang()

    backend.script = hang
    sent = request(inbound(Messages(b"a")), cluster, plan(per_try_timeout_s=0.1))
    with pytest.raises(AttemptFailedError) as caught:
        await attempt(sent, cluster)
    assert isinstance(caught.value.error, TimeoutExceededError)
    assert caught.value.failures == (Failure.TIMEOUT,)
    await backend.calls[0].is_over.wait()
    assert backend.calls[0].was_cancelled


async def test_caller_that_leaves_while_the_backend_thinks(cluster: Cluster, backend: GrpcBackend) -> None:
    async def hang(call: BackendCall) -> None:
        await call.hang()

    backend.script = hang
    asking = asyncio.create_task(attempt(request(inbound(Messages(b"a")), cluster), cluster))
    await backend.wait_for_calls(1)
    asking.cancel()
    await asyncio.wait({asking})
    assert asking.cancelled()
    await backend.calls[0].is_over.wait()
    assert backend.calls[0].was_cancelled


async def test_final_status_is_one_attempt_for_whoever_calls(cluster: Cluster, backend: GrpcBackend) -> None:
    async def refuse(call: BackendCall) -> None:
        await call.fail("PERMISSION_DENIED", "no")

    backend.script = refuse
    caller = Caller(metrics=Metrics(), random=Random(1))
    asked = context()
    with pytest.raises(UpstreamStatusError, match="no"):
        await caller.call(cluster, request(inbound(Messages(b"a")), cluster), RetryConfig(), asked)
    assert asked.attempts == 1


async def test_discarded_answer_is_read_to_its_end(cluster: Cluster, backend: GrpcBackend) -> None:
    async def count(call: BackendCall) -> None:
        await call.receive_all()
        await call.send(*[b"x"] * 50)

    backend.script = count
    call = inbound(Messages(b"a"))
    await call.discard(await attempt(request(call, cluster), cluster))
    assert (backend.calls[0].sent, backend.calls[0].was_cancelled) == (50, False)
