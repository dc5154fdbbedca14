"""Readiness of the Open Inference Protocol, over REST and over gRPC as the upstream speaks."""

from collections.abc import AsyncIterator

import grpc
import pytest

from gateway.config.upstream import OpenInferenceProbe, UpstreamProtocol
from tests.gateway.upstream.probes.probing import GrpcBackend, ask, fault, nobody, serving_grpc
from tests.support import scripts
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import response

GRPC = UpstreamProtocol.GRPC
SERVER = OpenInferenceProbe()
MODEL = OpenInferenceProbe(model="iris")


@pytest.mark.parametrize(
    ("probe", "base_path", "target"),
    [
        (SERVER, "", "/v2/health/ready"),
        (MODEL, "", "/v2/models/iris/ready"),
        (SERVER, "/base", "/base/v2/health/ready"),
        (OpenInferenceProbe(model="a/b ü%?#.."), "", "/v2/models/a%2Fb%20%C3%BC%25%3F%23../ready"),
    ],
)
async def test_readiness_is_asked_for_under_the_base_path(
    faulty_upstream: FaultyUpstream, probe: OpenInferenceProbe, base_path: str, target: str
) -> None:
    faulty_upstream.script = scripts.answer(response(200))
    assert await ask(probe, faulty_upstream.url + base_path) is None
    (request,) = faulty_upstream.requests
    assert (request.method, request.target) == ("GET", target)
    assert request.header("user-agent") == "janua-health-check"


@pytest.mark.parametrize("status", [201, 204, 301, 400, 404, 503])
async def test_only_200_is_ready(faulty_upstream: FaultyUpstream, status: int) -> None:
    faulty_upstream.script = scripts.answer(response(status))
    assert await ask(MODEL, faulty_upstream.url) == f"status {status}"


async def test_an_endpoint_found_for_a_name_is_asked_by_that_name(faulty_upstream: FaultyUpstream) -> None:
    faulty_upstream.script = scripts.answer(response(200))
    port = faulty_upstream.address.rpartition(":")[2]
    assert await ask(SERVER, f"http://box.example:{port}", found_at="127.0.0.1") is None
    hosts = [value for name, value in faulty_upstream.requests[0].headers if name.lower() == "host"]
    assert hosts == [f"box.example:{port}"]


async def test_nobody_there() -> None:
    async with nobody() as address:
        assert await fault(SERVER, f"http://{address}") == "connection refused"
        assert await fault(SERVER, f"http://{address}", protocol=GRPC) == "connection refused"


@pytest.fixture
async def backend() -> AsyncIterator[GrpcBackend]:
    made = GrpcBackend()
    async with serving_grpc(made) as made.address:
        yield made


@pytest.mark.parametrize(
    ("probe", "call"),
    [
        (SERVER, ("/inference.GRPCInferenceService/ServerReady", b"")),
        (MODEL, ("/inference.GRPCInferenceService/ModelReady", b"\x0a\x04iris")),
    ],
)
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"\x08\x01", None),
        (b"\x08\x00", "not ready"),
        (b"", "not ready"),
        (b"garbage", "the answer is not understood"),
        (grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED"),
        (grpc.StatusCode.NOT_FOUND, "NOT_FOUND, no details"),
    ],
)
async def test_over_grpc_readiness_is_a_call(
    backend: GrpcBackend,
    probe: OpenInferenceProbe,
    call: tuple[str, bytes],
    answer: bytes | grpc.StatusCode,
    expected: str | None,
) -> None:
    backend.answer = answer
    assert await ask(probe, f"http://{backend.address}", protocol=GRPC) == expected
    assert backend.calls == [call]
