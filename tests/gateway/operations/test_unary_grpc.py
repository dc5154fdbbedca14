"""What the end of a call means for an attempt."""

import asyncio

import pytest

from gateway.config.snapshot import Failure
from gateway.errors import ErrorCode, UpstreamRejectedError, UpstreamStatusError
from gateway.operations.unary_grpc import call_failure, remaining_s
from gateway.transport.grpc import GrpcStatusError
from gateway.upstream.retry import AttemptFailedError
from tests.gateway.upstream.calls import FAR_AWAY_S, LoopClock

REFUSAL = UpstreamRejectedError(
    "wrong shape", code=ErrorCode.INVALID_REQUEST, status=400, body=None, content_type="application/json"
)


def far_away() -> float:
    return asyncio.get_running_loop().time() + FAR_AWAY_S


@pytest.mark.parametrize("code", ["INTERNAL", "UNKNOWN"])
async def test_failure_at_a_request_that_is_wrong_itself_is_a_refusal(code: str) -> None:
    assert await call_failure(GrpcStatusError(code, "crashed"), far_away(), lambda: REFUSAL) is REFUSAL
    failure = await call_failure(GrpcStatusError(code, "crashed"), far_away(), lambda: None)
    assert isinstance(failure, AttemptFailedError)
    assert failure.failures == (Failure.SERVER_ERROR,)


@pytest.mark.parametrize("code", ["UNAVAILABLE", "NOT_FOUND", "INVALID_ARGUMENT"])
async def test_other_statuses_raise_no_question_about_the_request(code: str) -> None:
    failure = await call_failure(GrpcStatusError(code, "no"), far_away(), lambda: REFUSAL)
    assert failure is not REFUSAL


async def test_callers_get_none_of_the_metadata_that_the_node_writes_itself() -> None:
    status = GrpcStatusError("ABORTED", "no", (("x-why", "because"), ("x-janua-route", "r"), ("x-request-id", "1")))
    failure = await call_failure(status, far_away(), lambda: None)
    assert isinstance(failure, UpstreamStatusError)
    assert failure.trailing_metadata == (("x-why", "because"),)


async def test_deadline_of_the_backends_own_is_a_failure_of_the_attempt() -> None:
    failure = await call_failure(GrpcStatusError("DEADLINE_EXCEEDED", "slow"), far_away(), lambda: None)
    assert isinstance(failure, AttemptFailedError)
    assert failure.failures == (Failure.TIMEOUT,)


async def test_our_own_deadline_is_left_to_whoever_set_it() -> None:
    clock = LoopClock()
    deadline = asyncio.get_running_loop().time() + 0.05
    waiting = asyncio.create_task(call_failure(GrpcStatusError("DEADLINE_EXCEEDED", ""), deadline, lambda: None))
    await asyncio.sleep(0)
    await clock.advance(0.06)
    assert not waiting.done()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_no_time_is_left_after_a_deadline() -> None:
    assert remaining_s(asyncio.get_running_loop().time() - 5) == 0
    assert 4 < remaining_s(asyncio.get_running_loop().time() + 5) <= 5
