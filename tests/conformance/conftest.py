"""One node for all conformance tests, and a client for each protocol."""

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack

import aiohttp
import grpc
import pytest
import pytest_asyncio

from tests.conformance.calls import Caller, Wire
from tests.conformance.configuration import EMPTY
from tests.conformance.dialects import Node
from tests.conformance.gateway import Gateway, render
from tests.conformance.gateway_process import GatewayProcess
from tests.conformance.granian_deviations import NOT_OFFERED, OTHERWISE
from tests.conformance.grpc_caller import GrpcCaller
from tests.conformance.http_caller import HttpCaller
from tests.conformance.open_inference import GrpcInferCaller, InferCaller, RestInferCaller, make_backend
from tests.conformance.translation_world import World, before_all_dialects
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.open_inference_backends import Backend, GrpcBackend, RestBackend, started

MAX_BODY_BYTES = 1024 * 1024
"""The largest request that the node takes."""

Upstreams = Callable[[int], Awaitable[list[FaultyUpstream]]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """On Granian some tests do not count: see `granian_deviations`."""
    if os.environ.get("JANUA_HTTP_SERVER") != "granian":
        return
    for item in items:
        for name, reason in NOT_OFFERED.items():
            if name in item.nodeid:
                item.add_marker(pytest.mark.skip(reason=reason))
        for name, reason in OTHERWISE.items():
            if name in item.nodeid:
                item.add_marker(pytest.mark.xfail(reason=reason, strict=True))


@pytest.fixture(scope="session")
def gateway_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A node that is configured anew for each test, and so reloads its file hundreds of times. Whatever the tests did
    to it, it must stop in order and have met no fault of its own."""
    process = GatewayProcess(tmp_path_factory.mktemp("gateway"))
    process.start(render(EMPTY, "at-start"), f"--max-body-bytes={MAX_BODY_BYTES}")
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
        # grpcio logs it as an error when a caller leaves while a message is on its way to it.
        assert process.log.count("Traceback") == process.log.count("ExecuteBatchError raised in core")
    finally:
        process.stop()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """An HTTP client that takes what it gets."""
    timeout = aiohttp.ClientTimeout(total=None)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as session:
        yield session


@pytest.fixture
async def gateway(gateway_process: GatewayProcess, session: aiohttp.ClientSession) -> AsyncIterator[Gateway]:
    """The node, without configuration: nothing is left of the test before. After every test it must become idle."""
    gateway = Gateway(gateway_process, session)
    await gateway.apply(EMPTY)
    yield gateway
    await gateway.wait_until_idle()


@pytest.fixture
async def upstreams() -> AsyncIterator[Upstreams]:
    """Starts scripted upstreams: `first, second = await upstreams(2)`."""
    async with AsyncExitStack() as stack:
        started: list[FaultyUpstream] = []

        async def start(count: int) -> list[FaultyUpstream]:
            new = [FaultyUpstream() for _ in range(count)]
            for upstream in new:
                await upstream.start()
                stack.push_async_callback(upstream.stop)
            started.extend(new)
            return new

        yield start
    assert [upstream.errors for upstream in started if upstream.errors] == []


@pytest.fixture
async def upstream(upstreams: Upstreams) -> FaultyUpstream:
    """One scripted upstream."""
    (upstream,) = await upstreams(1)
    return upstream


@pytest.fixture
def http(gateway: Gateway, session: aiohttp.ClientSession) -> HttpCaller:
    """Calls over HTTP."""
    return HttpCaller(gateway.addresses.http, session)


@pytest.fixture
async def channel(gateway: Gateway) -> AsyncIterator[grpc.aio.Channel]:
    """A gRPC connection."""
    options = [("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(gateway.addresses.grpc, options=options) as channel:
        yield channel


@pytest.fixture
async def grpc_caller(channel: grpc.aio.Channel) -> GrpcCaller:
    """Calls over gRPC."""
    return GrpcCaller(channel)


@pytest.fixture
def inference_node(gateway: Gateway, session: aiohttp.ClientSession, channel: grpc.aio.Channel) -> Node:
    """The node, for clients of any dialect."""
    return Node(http=gateway.addresses.http, session=session, channel=channel)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_world(
    gateway_process: GatewayProcess, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    """The node before backends of all dialects."""
    async with before_all_dialects(gateway_process, tmp_path_factory.mktemp("world")) as world:
        yield world


@pytest.fixture
def world(shared_world: World) -> Iterator[World]:
    """The same, with nothing of the test before. Its tests run in the loop of their module: `loop_scope="module"`."""
    shared_world.begin()
    yield shared_world
    assert shared_world.upstream.errors == []


@pytest.fixture(params=list(Wire), ids=lambda wire: wire.value)
def caller(request: pytest.FixtureRequest) -> Caller:
    """Calls over HTTP, and in another run of the same test over gRPC."""
    caller: Caller = request.getfixturevalue("http" if request.param is Wire.HTTP else "grpc_caller")
    return caller


@pytest.fixture(params=[False, True], ids=["unary", "stream"])
def streamed(request: pytest.FixtureRequest) -> bool:
    """Whether to ask for a streamed answer."""
    is_streamed: bool = request.param
    return is_streamed


@pytest.fixture(params=list(Wire), ids=lambda wire: f"from-{wire.value}")
def infer_caller(request: pytest.FixtureRequest) -> InferCaller:
    """Calls of the Open Inference Protocol over REST, and in another run of the same test over gRPC."""
    caller: InferCaller = request.getfixturevalue("rest_infer" if request.param is Wire.HTTP else "grpc_infer")
    return caller


@pytest.fixture
def rest_infer(gateway: Gateway, session: aiohttp.ClientSession) -> RestInferCaller:
    """Calls of the Open Inference Protocol over REST."""
    return RestInferCaller(gateway.addresses.http, session)


@pytest.fixture
def grpc_infer(channel: grpc.aio.Channel) -> GrpcInferCaller:
    """Calls of the Open Inference Protocol over gRPC."""
    return GrpcInferCaller(channel)


@pytest.fixture(params=list(Wire), ids=lambda wire: f"to-{wire.value}")
async def backends(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Backend, ...]]:
    """Two servers of the Open Inference Protocol over REST, and in another run of the same test over gRPC."""
    async with started(make_backend(request.param), make_backend(request.param)) as backends:
        yield backends


@pytest.fixture
async def rest_backends() -> AsyncIterator[tuple[RestBackend, ...]]:
    """Two servers of the Open Inference Protocol over REST."""
    async with started(RestBackend(), RestBackend()) as backends:
        yield backends


@pytest.fixture
async def grpc_backends() -> AsyncIterator[tuple[GrpcBackend, ...]]:
    """Two servers of the Open Inference Protocol over gRPC."""
    async with started(GrpcBackend(), GrpcBackend()) as backends:
        yield backends
