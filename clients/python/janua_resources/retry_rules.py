"""How retries and time limits must fit together. Both stand in services and in routes."""

from collections.abc import Iterator
from typing import Final

from google.protobuf.duration_pb2 import Duration
from janua.config.v1.service_pb2 import RETRY_ON_UNSPECIFIED, RetryBackOff, RetryPolicy, Timeouts

from janua_resources.durations import format_duration, to_nanos
from janua_resources.violations import Problem

DEFAULT_REQUEST_TIMEOUT: Final = Duration(seconds=600)
DEFAULT_BASE_INTERVAL: Final = Duration(nanos=25_000_000)


def check_retries(retry_policy: RetryPolicy, timeouts: Timeouts) -> Iterator[Problem]:
    """What is wrong with the `retry_policy` and `timeouts` of one resource, as far as that resource alone shows."""
    for index, retry_on in enumerate(retry_policy.retry_on):
        if retry_on == RETRY_ON_UNSPECIFIED:
            yield Problem(field=f"retry_policy.retry_on[{index}]", message="RETRY_ON_UNSPECIFIED is not a failure")
    yield from _check_back_off(retry_policy.retry_back_off)
    if timeouts.HasField("request") and outlasts(retry_policy, timeouts.request):
        limit = format_duration(timeouts.request)
        text = f"{format_duration(retry_policy.per_try_timeout)} outlasts timeouts.request, {limit}"
        yield Problem(field="retry_policy.per_try_timeout", message=text)


def outlasts(retry_policy: RetryPolicy, request_timeout: Duration) -> bool:
    """Whether one attempt may last longer than the whole request."""
    if not retry_policy.HasField("per_try_timeout"):
        return False
    return to_nanos(retry_policy.per_try_timeout) > to_nanos(request_timeout)


def _check_back_off(back_off: RetryBackOff) -> Iterator[Problem]:
    if not back_off.HasField("max_interval"):
        return
    base = back_off.base_interval if back_off.HasField("base_interval") else DEFAULT_BASE_INTERVAL
    if to_nanos(back_off.max_interval) < to_nanos(base):
        text = f"{format_duration(back_off.max_interval)} is below base_interval, {format_duration(base)}"
        yield Problem(field="retry_policy.retry_back_off.max_interval", message=text)
