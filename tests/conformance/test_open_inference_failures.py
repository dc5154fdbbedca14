"""What goes wrong with calls of the Open Inference Protocol: it is tried again elsewhere where that may help, ends in
time, and lets backends go."""

import asyncio
from dataclasses import replace

import pytest

from gateway.schemas.open_inference.dialect import InferRequest, InferResponse
from tests.conformance.calls import Kind, Wire
from tests.conformance.gateway import Gateway
from tests.conformance.open_inference import (
    ASKED,
    FLOATS,
    GrpcInferCaller,
    InferCaller,
    Inferred,
    RestInferCaller,
    models_at,
)
from tests.conformance.unanswering import unanswering_address
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.open_inference_backends import (
    Backend,
    Behaviour,
    GrpcBackend,
    RestBackend,
    hang,
    refuse,
    say,
)
from tests.support.polling import eventually
from tests.support.scripts import Script, cut, reset

Backends = tuple[Backend, ...]

LIMIT_S = 0.2
LIMIT = "200ms"
NO_RETRY = {"num_retries": 0}


def assert_refused(inferred: Inferred, kind: Kind) -> str:
    assert inferred.failure is not None, "it was answered"
    assert inferred.failure.status == kind.on(inferred.wire), inferred.failure
    return inferred.failure.message


async def has_left(backend: Backend, count: int = 1) -> None:
    async def is_so() -> bool:
        return backend.left == count

    await eventually(is_so, timeout_s=2.0)


FAULTS = {
    "busy": refuse(503, "UNAVAILABLE"),
    "no JSON": say(b"<html>not a model</html>"),
    "a number cut off": say(b"\x0a"),
    "a field cut off": say(b"\x0a\x05ab"),
}


@pytest.mark.parametrize("behaviour", FAULTS.values(), ids=FAULTS)
async def test_what_fails_on_one_endpoint_is_tried_on_another(
    gateway: Gateway, backends: Backends, infer_caller: InferCaller, behaviour: Behaviour
) -> None:
    first, second = backends
    await gateway.apply(models_at(first, second))
    first.behave = behaviour
    inferred = await infer_caller.infer(ASKED)
    assert inferred.answer.outputs == (FLOATS,)
    assert (inferred.headers["x-janua-endpoint"], inferred.headers["x-janua-attempts"]) == (second.address, "2")
    assert (len(first.asked), len(second.asked)) == (1, 1)


async def test_endpoint_that_is_not_there(gateway: Gateway, backends: Backends, infer_caller: InferCaller) -> None:
    first, second = backends
    await gateway.apply(models_at(first, second))
    await first.stop()
    assert (await infer_caller.infer(ASKED)).answer.outputs == (FLOATS,)


@pytest.mark.parametrize("script", [reset(), cut(b"", 0), cut(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", 40)])
async def test_rest_endpoint_that_breaks_off(
    gateway: Gateway, upstream: FaultyUpstream, infer_caller: InferCaller, script: Script
) -> None:
    upstream.script = script
    await gateway.apply(models_at(nobody_at(upstream.address, RestBackend)))
    assert_refused(await infer_caller.infer(ASKED), Kind.BAD_GATEWAY)
    assert len(upstream.requests) == 3


def nobody_at(address: str, kind: type[Backend]) -> Backend:
    """What is taken for such a server."""
    backend = kind()
    backend.address = address
    return backend


@pytest.mark.parametrize("status", [404, 409, 413, 400])
async def test_refusal_is_not_tried_again(
    gateway: Gateway, backends: Backends, infer_caller: InferCaller, status: int
) -> None:
    first, second = backends
    await gateway.apply(models_at(first, second))
    first.behave = refuse(status, {404: "NOT_FOUND", 413: "OUT_OF_RANGE"}.get(status, "INVALID_ARGUMENT"), "no, thanks")
    inferred = await infer_caller.infer(ASKED)
    assert inferred.failure is not None
    assert inferred.failure.message == "no, thanks"
    assert second.asked == []
    if infer_caller.wire is Wire.HTTP and isinstance(first, RestBackend):
        assert inferred.failure.status == str(status)


async def assert_second_answers(gateway: Gateway, pair: Backends, caller: InferCaller, nonsense: bytes) -> None:
    first, second = pair
    await gateway.apply(models_at(first, second))
    first.behave = say(nonsense)
    assert (await caller.infer(ASKED)).answer.outputs == (FLOATS,)
    assert len(first.asked) == len(second.asked) == 1


async def test_answer_that_must_be_decoded_and_is_none(
    gateway: Gateway,
    rest_infer: RestInferCaller,
    grpc_infer: GrpcInferCaller,
    rest_backends: tuple[RestBackend, ...],
    grpc_backends: tuple[GrpcBackend, ...],
) -> None:
    """What is wrong with it is found in time to ask somebody else."""
    await assert_second_answers(gateway, rest_backends, grpc_infer, b'{"outputs": [{}]}')
    await assert_second_answers(gateway, grpc_backends, rest_infer, b"\x2a\x03\x0a\x01x")


async def test_answer_that_the_callers_form_cannot_carry(
    gateway: Gateway, grpc_backends: tuple[GrpcBackend, ...], rest_infer: RestInferCaller
) -> None:
    first, second = grpc_backends
    await gateway.apply(models_at(first, second))
    nan = replace(FLOATS, data=(float("nan"), 0.0, 0.0, 0.0))

    async def behave(request: InferRequest) -> InferResponse | bytes:
        return InferResponse(model=request.model, outputs=(nan,))

    first.behave = behave
    message = assert_refused(await rest_infer.infer(ASKED), Kind.BAD_GATEWAY)
    assert "JSON has no NaN" in message
    assert second.asked == []


# Time.


async def test_request_takes_no_longer_than_its_limit(
    gateway: Gateway, backends: Backends, infer_caller: InferCaller
) -> None:
    await gateway.apply(models_at(backends[0], service={"timeouts": {"request": LIMIT}}))
    backends[0].behave = hang
    message = assert_refused(await infer_caller.infer(ASKED), Kind.TIMEOUT)
    assert message == "the request's time limit passed"
    await has_left(backends[0])


async def test_attempt_takes_no_longer_than_its_limit(
    gateway: Gateway, backends: Backends, infer_caller: InferCaller
) -> None:
    policy = {"per_try_timeout": LIMIT, "retry_on": ["TIMEOUT"], "retry_back_off": {"base_interval": "1ms"}}
    first, second = backends
    await gateway.apply(models_at(first, second, service={"retry_policy": policy}))
    first.behave = hang
    assert (await infer_caller.infer(ASKED)).answer.outputs == (FLOATS,)
    await has_left(first)


async def test_limit_of_the_caller(gateway: Gateway, backends: Backends, infer_caller: InferCaller) -> None:
    await gateway.apply(models_at(backends[0]))
    backends[0].behave = hang
    assert_refused(await infer_caller.infer(ASKED, deadline_s=LIMIT_S), Kind.TIMEOUT)
    await has_left(backends[0])


async def test_backend_over_grpc_is_told_the_time_that_is_left(
    gateway: Gateway, grpc_backends: tuple[GrpcBackend, ...], infer_caller: InferCaller
) -> None:
    backend, _ = grpc_backends
    await gateway.apply(models_at(backend, service={"timeouts": {"request": "50s"}}))
    for deadline_s, at_most in ((None, 50), (20, 20), (90, 50)):
        assert (await infer_caller.infer(ASKED, deadline_s=deadline_s)).failure is None
        told = backend.asked[-1].time_s
        assert told is not None
        assert at_most - 10 < told < at_most + 1  # gRPC rounds it up


async def test_connecting_takes_no_longer_than_its_limit(
    gateway: Gateway, backends: Backends, infer_caller: InferCaller
) -> None:
    with unanswering_address() as address:
        silent = nobody_at(address, type(backends[0]))
        pool = {"connection_pool": {"connect_timeout": LIMIT}}
        await gateway.apply(models_at(silent, upstream=pool, service={"retry_policy": NO_RETRY}))
        async with asyncio.timeout(5):
            message = assert_refused(await infer_caller.infer(ASKED), Kind.UNAVAILABLE)
    assert "cannot be reached" in message


# Callers that leave.


async def test_leaving_caller_ends_the_work_of_the_backend(
    gateway: Gateway, backends: Backends, infer_caller: InferCaller
) -> None:
    await gateway.apply(models_at(backends[0]))
    backends[0].behave = hang
    asking = asyncio.create_task(infer_caller.infer(ASKED))

    async def is_asked() -> bool:
        return len(backends[0].asked) == 1

    await eventually(is_asked)
    await gateway.wait_for_active_requests(1)
    asking.cancel()
    await asyncio.wait({asking})
    await has_left(backends[0])
    await gateway.wait_until_idle()
