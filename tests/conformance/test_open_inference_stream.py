"""Streams of inference requests over gRPC, to servers of Triton's and of MLServer's kind, to such without streams, and
to servers over REST."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import TypeAlias

import grpc
import pytest

from gateway.schemas.open_inference.dialect import InferRequest, InferResponse, StreamError
from gateway.schemas.open_inference.grpc import (
    decode_request,
    decode_stream_answer,
    encode_request,
    encode_stream_answer,
)
from tests.conformance.calls import Failure
from tests.conformance.configuration import Configuration
from tests.conformance.gateway import Gateway
from tests.conformance.grpc_caller import failure_of
from tests.conformance.open_inference import ASKED, FLOATS, GrpcInferCaller, asking, models_at
from tests.support.open_inference_backends import (
    Context,
    GrpcBackend,
    RestBackend,
    StreamBehaviour,
    echo,
    echo_each,
    echo_each_bare,
    hang,
    refuse,
    say,
)
from tests.support.polling import eventually

Call: TypeAlias = "grpc.aio.StreamStreamCall[bytes, bytes]"
GrpcBackends = tuple[GrpcBackend, ...]
RestBackends = tuple[RestBackend, ...]

LIMIT = "200ms"
NUMBERED = [replace(ASKED, id=str(number)) for number in range(4)]


def answer_to(request: InferRequest) -> InferResponse:
    return InferResponse(model=request.model, id=request.id, outputs=request.inputs)


async def send(call: Call, *requests: InferRequest | bytes) -> None:
    for request in requests:
        await call.write(request if isinstance(request, bytes) else encode_request(request))


async def read(call: Call) -> InferResponse | StreamError:
    data = await call.read()
    assert isinstance(data, bytes), await call.code()
    return decode_stream_answer(data)


async def read_all(call: Call) -> list[InferResponse | StreamError]:
    """All answers up to a good end."""
    answers = []
    while isinstance(data := await call.read(), bytes):
        answers.append(decode_stream_answer(data))
    return answers


async def ask_all(caller: GrpcInferCaller, requests: Sequence[InferRequest]) -> list[InferResponse | StreamError]:
    call = caller.stream()
    await send(call, *requests)
    await call.done_writing()
    return await read_all(call)


async def failure(call: Call) -> Failure:
    """How the call fails, once all its answers are read."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await read_all(call)
    return failure_of(caught.value)


async def has_ended(backend: GrpcBackend) -> None:
    """Returns once the backend has nothing to do any more."""

    async def is_so() -> bool:
        return backend.ended_streams == 1

    await eventually(is_so, timeout_s=2.0)


# Answers.


@pytest.mark.parametrize("kind", [echo_each, echo_each_bare], ids=["triton", "mlserver"])
async def test_each_request_is_answered(
    gateway: Gateway, grpc_backends: GrpcBackends, grpc_infer: GrpcInferCaller, kind: StreamBehaviour
) -> None:
    await gateway.apply(models_at(grpc_backends[0]))
    grpc_backends[0].stream = kind
    assert await ask_all(grpc_infer, NUMBERED) == [answer_to(request) for request in NUMBERED]
    assert [asked.action for asked in grpc_backends[0].asked] == ["stream"] * len(NUMBERED)


async def test_each_request_is_answered_by_a_backend_without_streams(
    gateway: Gateway, grpc_backends: GrpcBackends, grpc_infer: GrpcInferCaller
) -> None:
    """KServe's."""
    await gateway.apply(models_at(grpc_backends[0]))
    grpc_backends[0].stream = None
    assert await ask_all(grpc_infer, NUMBERED) == [answer_to(request) for request in NUMBERED]
    assert [asked.action for asked in grpc_backends[0].asked] == ["infer"] * len(NUMBERED)


async def test_garbage_of_a_backend_without_streams_is_tried_elsewhere(
    gateway: Gateway, grpc_backends: GrpcBackends, grpc_infer: GrpcInferCaller
) -> None:
    await gateway.apply(models_at(*grpc_backends))
    for backend in grpc_backends:
        backend.stream = None
    grpc_backends[0].behave = say(b"\x2a\x02\x0a\x09")  # an output that ends within its name
    assert await ask_all(grpc_infer, NUMBERED) == [answer_to(request) for request in NUMBERED]


async def test_call_in_place_of_a_stream_counts_at_its_endpoint(
    gateway: Gateway, grpc_backends: GrpcBackends, grpc_infer: GrpcInferCaller
) -> None:
    await gateway.apply(models_at(grpc_backends[0]))
    grpc_backends[0].stream, grpc_backends[0].behave = None, hang
    call = grpc_infer.stream()
    await send(call, ASKED)

    async def is_asked() -> bool:
        return bool(grpc_backends[0].asked)

    await eventually(is_asked)
    (endpoint,) = await gateway.endpoints()
    assert endpoint["active_requests"] == 1
    call.cancel()


async def test_each_request_is_answered_by_a_backend_over_rest(
    gateway: Gateway, rest_backends: RestBackends, grpc_infer: GrpcInferCaller
) -> None:
    await gateway.apply(models_at(rest_backends[0]))
    assert await ask_all(grpc_infer, NUMBERED) == [answer_to(request) for request in NUMBERED]


@pytest.mark.parametrize("kind", [echo_each, echo_each_bare, None], ids=["triton", "mlserver", "none"])
async def test_model_has_another_name_at_the_backend(
    gateway: Gateway, grpc_backends: GrpcBackends, grpc_infer: GrpcInferCaller, kind: StreamBehaviour | None
) -> None:
    names = {"models": [{"name": "m", "upstream_name": "other"}]}
    await gateway.apply(models_at(grpc_backends[0], service=names))
    grpc_backends[0].stream = kind
    assert await ask_all(grpc_infer, NUMBERED) == [answer_to(request) for request in NUMBERED]
    assert {asked.model for asked in grpc_backends[0].asked} == {"other"}


@pytest.mark.parametrize("is_rest", [False, True], ids=["to-grpc", "to-http"])
async def test_answer_comes_before_the_next_request(
    gateway: Gateway,
    grpc_backends: GrpcBackends,
    rest_backends: RestBackends,
    grpc_infer: GrpcInferCaller,
    is_rest: bool,
) -> None:
    await gateway.apply(models_at(*(rest_backends if is_rest else grpc_backends)))
    call = grpc_infer.stream()
    for request in NUMBERED:
        await send(call, request)
        assert await read(call) == answer_to(request)
    await call.done_writing()
    assert await read_all(call) == []
    assert dict(await call.initial_metadata())["x-janua-service"] == "llm"


async def test_request_may_have_any_number_of_answers(
    gateway: Gateway, grpc_backends: GrpcBackends, grpc_infer: GrpcInferCaller
) -> None:
    async def decoupled(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        async for data in requests:
            request = decode_request(data)
            for _ in range(int(request.id)):
                yield encode_stream_answer(answer_to(request))

    await gateway.apply(models_at(grpc_backends[0]))
    grpc_backends[0].stream = decoupled
    answers = await ask_all(grpc_infer, NUMBERED)
    assert [answer.id for answer in answers] == ["1", "2", "2", "3", "3", "3"]
    assert await ask_all(grpc_infer, NUMBERED[:1]) == []


async def test_stream_without_requests_ends_well(gateway: Gateway, grpc_infer: GrpcInferCaller) -> None:
    assert await ask_all(grpc_infer, []) == []


async def test_end_of_the_requests_is_passed_on(
    gateway: Gateway, grpc_backends: GrpcBackends, grpc_infer: GrpcInferCaller
) -> None:
    async def sum_up(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        count = len([data async for data in requests])
        yield encode_stream_answer(InferResponse(id=str(count)))

    await gateway.apply(models_at(grpc_backends[0]))
    grpc_backends[0].stream = sum_up
    (answer,) = await ask_all(grpc_infer, NUMBERED)
    assert answer.id == "4"


async def test_backend_may_end_before_the_caller(
    gateway: Gateway, grpc_backends: GrpcBackends, grpc_infer: GrpcInferCaller
) -> None:
    async def once(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        async for data in requests:
            yield encode_stream_answer(await echo(decode_request(data)))
            return

    await gateway.apply(models_at(grpc_backends[0]))
    grpc_backends[0].stream = once
    call = grpc_infer.stream()
    await send(call, NUMBERED[0])
    assert await read_all(call) == [answer_to(NUMBERED[0])]
    await gateway.wait_until_idle()


async def test_slow_reader_slows_the_backend(
    gateway: Gateway, grpc_backends: GrpcBackends, grpc_infer: GrpcInferCaller
) -> None:
    sent = 0

    async def endless(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        nonlocal sent
        big = encode_stream_answer(InferResponse(id="x" * 100_000))
        async for _ in requests:
            while True:
                yield big
                sent += 1

    await gateway.apply(models_at(grpc_backends[0]))
    grpc_backends[0].stream = endless
    call = grpc_infer.stream()
    await send(call, ASKED)
    await read(call)
    seen = [-1] * 20

    async def is_blocked() -> bool:
        seen.append(sent)
        return len(set(seen[-20:])) == 1

    await eventually(is_blocked)
    assert sent < 1000
    call.cancel()
    await has_ended(grpc_backends[0])


async def test_slow_backend_slows_the_caller(
    gateway: Gateway, grpc_backends: GrpcBackends, grpc_infer: GrpcInferCaller
) -> None:
    async def one_answer_and_nothing_read(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        yield encode_stream_answer(InferResponse(id="first"))
        await asyncio.Event().wait()

    await gateway.apply(models_at(grpc_backends[0]))
    grpc_backends[0].stream = one_answer_and_nothing_read
    call = grpc_infer.stream()
    written = 0

    async def write_on() -> None:
        nonlocal written
        while True:
            await send(call, replace(ASKED, id="x" * 100_000))
            written += 1

    writing = asyncio.create_task(write_on())
    assert (await read(call)).id == "first"
    seen = [-1] * 20

    async def is_blocked() -> bool:
        seen.append(written)
        return len(set(seen[-20:])) == 1

    await eventually(is_blocked)
    assert written < 1000
    writing.cancel()
    call.cancel()
    await asyncio.wait({writing})
    await gateway.wait_until_idle()


# What is wrong with one request.


async def test_request_for_another_model_is_an_error_within_the_stream(
    gateway: Gateway, grpc_backends: GrpcBackends, rest_backends: RestBackends, grpc_infer: GrpcInferCaller
) -> None:
    for backends in (grpc_backends, rest_backends):
        await gateway.apply(models_at(*backends))
        call = grpc_infer.stream()
        await send(call, NUMBERED[0])
        assert await read(call) == answer_to(NUMBERED[0])
        await send(call, asking("other", id="9"))
        text = "this stream is for the model 'm'; open another for 'other'"
        assert await read(call) == StreamError(message=text, id="9")
        await send(call, NUMBERED[1])
        assert await read(call) == answer_to(NUMBERED[1])
        await call.done_writing()
        assert await read_all(call) == []
        assert "other" not in {asked.model for asked in backends[0].asked}


async def test_truncated_message_is_an_error_within_the_stream(
    gateway: Gateway, grpc_backends: GrpcBackends, grpc_infer: GrpcInferCaller
) -> None:
    await gateway.apply(models_at(grpc_backends[0]))
    call = grpc_infer.stream()
    await send(call, NUMBERED[0])
    assert await read(call) == answer_to(NUMBERED[0])
    await send(call, b"\x0a\x05ab")
    assert isinstance(await read(call), StreamError)
    await send(call, NUMBERED[1])
    assert await read(call) == answer_to(NUMBERED[1])
    call.cancel()


@pytest.mark.parametrize("data", [b"\x0a\x05ab", b"", b"\x0f"])
async def test_first_message_that_is_none_ends_the_call(
    gateway: Gateway, grpc_backends: GrpcBackends, grpc_infer: GrpcInferCaller, data: bytes
) -> None:
    await gateway.apply(models_at(grpc_backends[0]))
    call = grpc_infer.stream()
    await send(call, data)
    assert (await failure(call)).status == "INVALID_ARGUMENT"


async def test_failed_request_to_a_backend_over_rest_is_an_error_within_the_stream(
    gateway: Gateway, rest_backends: RestBackends, grpc_infer: GrpcInferCaller
) -> None:
    await gateway.apply(models_at(*rest_backends))
    for backend in rest_backends:
        backend.behave = refuse(400, "", "not today")
    call = grpc_infer.stream()
    await send(call, NUMBERED[0], NUMBERED[1])
    assert await read(call) == StreamError(message="not today", id="0")
    assert await read(call) == StreamError(message="not today", id="1")
    rest_backends[0].behave = refuse(503, "")
    rest_backends[1].behave = echo
    await send(call, NUMBERED[2], replace(NUMBERED[3], inputs=(replace(FLOATS, data=(1.0,)),)))
    await call.done_writing()
    answer, wrong = await read_all(call)
    assert answer == answer_to(NUMBERED[2])
    assert wrong == StreamError(message="inputs[0].data: shape [2, 2] needs 4 elements, there are 1", id="3")


async def test_wrong_first_request_to_a_backend_over_rest_is_an_error_within_the_stream(
    gateway: Gateway, rest_backends: RestBackends, grpc_infer: GrpcInferCaller
) -> None:
    await gateway.apply(models_at(rest_backends[0]))
    wrong = replace(NUMBERED[0], inputs=(replace(FLOATS, data=(1.0,)),))
    refused, answer = await ask_all(grpc_infer, [wrong, NUMBERED[1]])
    assert isinstance(refused, StreamError)
    assert answer == answer_to(NUMBERED[1])


async def test_stream_for_a_model_that_no_route_takes_is_refused(
    gateway: Gateway, rest_backends: RestBackends, grpc_infer: GrpcInferCaller
) -> None:
    await gateway.apply(models_at(rest_backends[0], route={"match": {"models": ["other"]}}))
    call = grpc_infer.stream()
    await send(call, ASKED)
    assert (await failure(call)).status == "NOT_FOUND"


async def test_wrong_first_request_that_ends_the_stream_is_the_callers_fault(
    gateway: Gateway, grpc_backends: GrpcBackends, grpc_infer: GrpcInferCaller
) -> None:
    """MLServer ends it as if the fault were its own."""

    async def fail(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        await anext(aiter(requests))
        await context.abort(grpc.StatusCode.INTERNAL, "cannot reshape")
        yield b""

    await gateway.apply(models_at(*grpc_backends))
    grpc_backends[0].stream = fail
    call = grpc_infer.stream()
    await send(call, replace(ASKED, inputs=(replace(FLOATS, data=(1.0,)),)))
    told = await failure(call)
    assert (told.status, told.param) == ("INVALID_ARGUMENT", "inputs[0].data")


# What is wrong with the backend.


async def fail_after_two(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
    """Reads two requests and answers none."""
    await anext(aiter(requests))
    await anext(aiter(requests))
    await context.abort(grpc.StatusCode.UNAVAILABLE, "busy")
    yield b""


async def test_stream_that_fails_before_its_first_answer_is_tried_elsewhere(
    gateway: Gateway, grpc_backends: GrpcBackends, grpc_infer: GrpcInferCaller
) -> None:
    first, second = grpc_backends
    await gateway.apply(models_at(first, second))
    first.stream = fail_after_two
    assert await ask_all(grpc_infer, NUMBERED) == [answer_to(request) for request in NUMBERED]
    assert len(second.asked) == len(NUMBERED)


async def test_garbage_before_the_first_answer_is_tried_elsewhere(
    gateway: Gateway, grpc_backends: GrpcBackends, grpc_infer: GrpcInferCaller
) -> None:
    async def garbage(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        yield b"\x0a\x05ab"

    await gateway.apply(models_at(*grpc_backends))
    grpc_backends[0].stream = garbage
    assert await ask_all(grpc_infer, NUMBERED) == [answer_to(request) for request in NUMBERED]


async def test_endpoint_that_is_not_there(
    gateway: Gateway, grpc_backends: GrpcBackends, grpc_infer: GrpcInferCaller
) -> None:
    await gateway.apply(models_at(*grpc_backends))
    await grpc_backends[0].stop()
    assert await ask_all(grpc_infer, NUMBERED) == [answer_to(request) for request in NUMBERED]


async def test_backend_over_rest_takes_what_one_over_grpc_has_failed_at(
    gateway: Gateway, grpc_backends: GrpcBackends, rest_backends: RestBackends, grpc_infer: GrpcInferCaller
) -> None:
    await gateway.apply(grpc_then_rest(grpc_backends[0], rest_backends[0]))
    grpc_backends[0].stream = fail_after_two
    assert await ask_all(grpc_infer, NUMBERED) == [answer_to(request) for request in NUMBERED]
    assert [asked.action for asked in rest_backends[0].asked] == ["infer"]
    assert [asked.action for asked in grpc_backends[0].asked] == ["stream"] * 2 + ["infer"] * 3
    call = grpc_infer.stream()
    await send(call, *[replace(ASKED, id="x" * 70_000)] * 2)
    told = await failure(call)
    assert (told.status, told.message, len(rest_backends[0].asked)) == ("UNAVAILABLE", "busy", 1)


def grpc_then_rest(first: GrpcBackend, second: RestBackend) -> Configuration:
    """Two services, the second for what fails on the first."""
    upstreams = [
        {"name": "first", "protocol": "GRPC", "endpoints": [{"address": first.address}]},
        {"name": "second", "endpoints": [{"address": second.address}]},
    ]
    services = [
        {
            "name": name,
            "upstream_service": {"upstream": name, "schema": "OPEN_INFERENCE"},
            "retry_policy": {"num_retries": 0},
        }
        for name in ("first", "second")
    ]
    backends = [{"service": "first"}, {"service": "second", "priority": 1}]
    route = {"name": "models", "match": {"models": ["*"]}, "backends": backends, "fallback_on": ["UNAVAILABLE"]}
    return {"upstreams": upstreams, "services": services, "routes": [route]}


async def test_stream_of_which_too_much_has_been_read_is_not_tried_elsewhere(
    gateway: Gateway, grpc_backends: GrpcBackends, grpc_infer: GrpcInferCaller
) -> None:
    first, second = grpc_backends
    await gateway.apply(models_at(first, second))
    first.stream = fail_after_two
    call = grpc_infer.stream()
    await send(call, *[replace(ASKED, id="x" * 70_000)] * 2)
    told = await failure(call)
    assert (told.status, told.message, second.asked) == ("UNAVAILABLE", "busy", [])


@pytest.mark.parametrize(
    ("code", "status"),
    [("DATA_LOSS", "DATA_LOSS"), ("UNAVAILABLE", "UNAVAILABLE"), ("PERMISSION_DENIED", "UNAVAILABLE")],
)
async def test_failure_after_the_first_answer_is_the_end(
    gateway: Gateway, grpc_backends: GrpcBackends, grpc_infer: GrpcInferCaller, code: str, status: str
) -> None:
    first, second = grpc_backends

    async def fail_later(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        async for data in requests:
            yield encode_stream_answer(await echo(decode_request(data)))
            await context.abort(grpc.StatusCode[code], "lost")

    await gateway.apply(models_at(first, second))
    first.stream = fail_later
    call = grpc_infer.stream()
    await send(call, ASKED)
    assert await read(call) == answer_to(ASKED)
    assert (await failure(call)).status == status
    assert second.asked == []


async def test_backend_that_vanishes_amid_a_stream(
    gateway: Gateway, grpc_backends: GrpcBackends, grpc_infer: GrpcInferCaller
) -> None:
    await gateway.apply(models_at(*grpc_backends))
    call = grpc_infer.stream()
    await send(call, ASKED)
    assert await read(call) == answer_to(ASKED)
    await grpc_backends[0].stop()
    told = await failure(call)
    assert told.status in ("UNAVAILABLE", "CANCELLED")
    assert grpc_backends[1].asked == []


async def test_garbage_amid_a_stream(
    gateway: Gateway, grpc_backends: GrpcBackends, grpc_infer: GrpcInferCaller
) -> None:
    async def garbage(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        yield encode_stream_answer(answer_to(ASKED))
        yield b"\x0a\x05ab"

    await gateway.apply(models_at(*grpc_backends))
    grpc_backends[0].stream = garbage
    call = grpc_infer.stream()
    await send(call, ASKED)
    assert await read(call) == answer_to(ASKED)
    told = await failure(call)
    assert (told.status, told.reason) == ("UNAVAILABLE", "UPSTREAM_CUT")


# Time, and callers that leave.


async def silent(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
    """Reads, and says nothing."""
    async for _ in requests:
        pass
    await asyncio.Event().wait()
    yield b""


async def silent_after_one(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
    yield encode_stream_answer(answer_to(ASKED))
    async for answer in silent(requests, context):
        yield answer


async def test_first_answer_takes_no_longer_than_its_limit(
    gateway: Gateway, grpc_backends: GrpcBackends, grpc_infer: GrpcInferCaller
) -> None:
    await gateway.apply(models_at(grpc_backends[0], service={"timeouts": {"first_token": LIMIT}}))
    grpc_backends[0].stream = silent
    call = grpc_infer.stream()
    await send(call, ASKED)
    told = await failure(call)
    assert (told.status, told.reason) == ("DEADLINE_EXCEEDED", "FIRST_TOKEN_TIMEOUT")
    await has_ended(grpc_backends[0])


async def test_silence_takes_no_longer_than_its_limit(
    gateway: Gateway, grpc_backends: GrpcBackends, grpc_infer: GrpcInferCaller
) -> None:
    await gateway.apply(models_at(grpc_backends[0], service={"timeouts": {"stream_idle": LIMIT}}))
    grpc_backends[0].stream = silent_after_one
    call = grpc_infer.stream()
    await send(call, ASKED, ASKED)
    assert await read(call) == answer_to(ASKED)
    told = await failure(call)
    assert (told.status, told.reason) == ("DEADLINE_EXCEEDED", "STREAM_IDLE_TIMEOUT")
    await has_ended(grpc_backends[0])


async def test_backend_that_owes_nothing_may_be_silent(
    gateway: Gateway, grpc_backends: GrpcBackends, grpc_infer: GrpcInferCaller
) -> None:
    await gateway.apply(models_at(grpc_backends[0], service={"timeouts": {"stream_idle": LIMIT}}))
    call = grpc_infer.stream()
    await send(call, ASKED)
    assert await read(call) == answer_to(ASKED)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(call.code()), 3 * 0.2)
    await send(call, NUMBERED[1])
    assert await read(call) == answer_to(NUMBERED[1])
    call.cancel()


@pytest.mark.parametrize("behaviour", [silent, silent_after_one])
async def test_request_limit_binds_streams(
    gateway: Gateway, grpc_backends: GrpcBackends, grpc_infer: GrpcInferCaller, behaviour: StreamBehaviour
) -> None:
    await gateway.apply(models_at(grpc_backends[0], service={"timeouts": {"request": LIMIT}}))
    grpc_backends[0].stream = behaviour
    call = grpc_infer.stream()
    await send(call, ASKED)
    told = await failure(call)
    assert (told.status, told.reason) == ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")


async def test_backend_is_told_the_callers_deadline(
    gateway: Gateway, grpc_backends: GrpcBackends, grpc_infer: GrpcInferCaller
) -> None:
    await gateway.apply(models_at(grpc_backends[0]))
    call = grpc_infer.stream(deadline_s=20)
    await send(call, ASKED)
    await read(call)
    call.cancel()
    told = grpc_backends[0].asked[0].time_s
    assert told is not None
    assert 10 < told < 21


@pytest.mark.parametrize("behaviour", [silent, silent_after_one, echo_each])
async def test_leaving_caller_ends_the_work_of_the_backend(
    gateway: Gateway, grpc_backends: GrpcBackends, grpc_infer: GrpcInferCaller, behaviour: StreamBehaviour
) -> None:
    await gateway.apply(models_at(grpc_backends[0]))
    grpc_backends[0].stream = behaviour
    call = grpc_infer.stream()
    await send(call, ASKED)

    async def is_asked() -> bool:
        return bool(grpc_backends[0].asked)

    await eventually(is_asked)
    call.cancel()
    await has_ended(grpc_backends[0])
    await gateway.wait_until_idle()


async def test_leaving_at_any_moment(
    gateway: Gateway, grpc_backends: GrpcBackends, rest_backends: RestBackends, grpc_infer: GrpcInferCaller
) -> None:
    for backends in (grpc_backends, rest_backends):
        await gateway.apply(models_at(*backends))
        for moment in range(60):
            call = grpc_infer.stream()
            if moment % 3:
                await send(call, ASKED, asking("other"), ASKED)
            if moment % 3 == 2:
                await read(call)
            for _ in range(moment // 3):
                await asyncio.sleep(0)
            call.cancel()
    await gateway.wait_until_idle()
    assert await ask_all(grpc_infer, NUMBERED) == [answer_to(request) for request in NUMBERED]


async def test_leaving_caller_ends_the_work_of_a_backend_over_rest(
    gateway: Gateway, rest_backends: RestBackends, grpc_infer: GrpcInferCaller
) -> None:
    await gateway.apply(models_at(rest_backends[0]))
    call = grpc_infer.stream()
    await send(call, NUMBERED[0])
    assert await read(call) == answer_to(NUMBERED[0])
    rest_backends[0].behave = hang
    await send(call, NUMBERED[1])

    async def is_asked() -> bool:
        return len(rest_backends[0].asked) == 2

    await eventually(is_asked)
    call.cancel()

    async def has_left() -> bool:
        return rest_backends[0].left == 1

    await eventually(has_left, timeout_s=2.0)
    await gateway.wait_until_idle()


async def test_stream_stands_in_the_access_log_once(
    gateway: Gateway, grpc_backends: GrpcBackends, rest_backends: RestBackends, channel: grpc.aio.Channel
) -> None:
    for backends in (grpc_backends, rest_backends):
        await gateway.apply(models_at(*backends))
        request_id = f"stream-{backends[0].address}"
        rpc: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
            "/inference.GRPCInferenceService/ModelStreamInfer"
        )
        call = rpc(metadata=(("x-request-id", request_id),))
        await send(call, *NUMBERED)
        await call.done_writing()
        assert len(await read_all(call)) == len(NUMBERED)
        entry = await gateway.access_log_entry(request_id)
        assert (entry["model"], entry["route"], entry["status"], entry["stream"]) == ("m", "chat", "OK", True)
        assert entry["endpoint"] == backends[0].address
