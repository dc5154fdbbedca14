"""The accounting of requests: once each, however they end, and never with a key in it."""

import io
import json
import time
from typing import Any

import pytest

from gateway.config.snapshot import ConsumerConfig
from gateway.context import RequestContext
from gateway.errors import UnavailableError
from gateway.listeners.service import GatewayService
from gateway.telemetry.access_log import AccessLog
from gateway.telemetry.metrics import Metrics
from gateway.types import Operation, Usage


class Rig:
    """A service and where it accounts to."""

    def __init__(self, *, has_log: bool = True) -> None:
        self.output = io.BytesIO()
        self.log = AccessLog(self.output if has_log else None)
        self.metrics = Metrics()
        self.service = GatewayService(metrics=self.metrics, access_log=self.log, wall_clock=lambda: 1700000000.1234)

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)

    def entries(self) -> list[dict[str, Any]]:
        self.log._write(self.log._take())
        return [json.loads(line) for line in self.output.getvalue().splitlines()]


def context(**changes: Any) -> RequestContext:
    fields: dict[str, Any] = {
        "request_id": "r-1",
        "protocol": "http",
        "operation": Operation.CHAT,
        "method": "POST",
        "path": "/v1/chat/completions",
        "host": "ai.example",
        "query_string": b"key=sk-secret",
        "headers": {b"authorization": b"Bearer sk-secret"},
        "model": "m",
        "is_streaming": False,
        "client_address": "10.0.0.1",
        "started": time.perf_counter() - 2.0,
    }
    return RequestContext(**(fields | changes))


def test_without_a_configuration_nothing_can_be_served() -> None:
    with pytest.raises(UnavailableError) as caught:
        Rig().service.pin()
    assert (caught.value.reason, caught.value.retry_after_s) == ("NOT_READY", 1.0)


def test_answered_request() -> None:
    rig = Rig()
    usage = Usage(input_tokens=5, output_tokens=7)
    answered = context(
        route="chat",
        service="llm",
        endpoint="a:1",
        attempts=2,
        consumer=ConsumerConfig(name="ann"),
        usage=usage,
        upstream_seconds=0.5,
        first_content_at=time.perf_counter() - 1.0,
    )
    rig.service.settle(answered, "200")
    assert rig.value("janua_requests_total", route="chat", service="llm", status="200") == 1
    assert rig.value("janua_request_duration_seconds_sum", route="chat") == pytest.approx(2.0, abs=0.5)
    assert rig.value("janua_overhead_seconds_sum", route="chat") == pytest.approx(0.5, abs=0.25)
    assert rig.value("janua_tokens_total", service="llm", kind="output") == 7
    assert rig.value("gen_ai_server_time_to_first_token_seconds_count", route="chat") is None
    (entry,) = rig.entries()
    assert entry.pop("duration_ms") == pytest.approx(2000, abs=500)
    assert entry == {
        "time": 1700000000.123,
        "request_id": "r-1",
        "protocol": "http",
        "method": "POST",
        "path": "/v1/chat/completions",
        "status": "200",
        "model": "m",
        "route": "chat",
        "service": "llm",
        "endpoint": "a:1",
        "consumer": "ann",
        "attempts": 2,
        "client": "10.0.0.1",
        "input_tokens": 5,
        "output_tokens": 7,
    }


def test_stream_tells_when_its_first_content_came() -> None:
    rig = Rig()
    rig.service.settle(context(route="chat", is_streaming=True, first_content_at=time.perf_counter() - 1.5), "200")
    assert rig.value("gen_ai_server_time_to_first_token_seconds_sum", route="chat") == pytest.approx(0.5, abs=0.25)
    assert rig.entries()[0]["stream"] is True


def test_refused_request() -> None:
    rig = Rig()
    rig.service.settle(context(), "401", "INVALID_API_KEY")
    assert rig.value("janua_requests_total", route="", service="", status="401") == 1
    (entry,) = rig.entries()
    assert (entry["status"], entry["reason"]) == ("401", "INVALID_API_KEY")
    assert "consumer" not in entry


def test_overhead_is_never_negative() -> None:
    rig = Rig()
    rig.service.settle(context(route="chat", upstream_seconds=1000.0), "200")
    assert rig.value("janua_overhead_seconds_sum", route="chat") == 0


def test_keys_are_not_logged() -> None:
    rig = Rig()
    rig.service.settle(context(), "200")
    assert b"sk-secret" not in json.dumps(rig.entries()).encode()


def test_without_an_access_log_requests_are_counted_all_the_same() -> None:
    rig = Rig(has_log=False)
    rig.service.settle(context(route="chat", service="llm"), "200")
    assert rig.value("janua_requests_total", route="chat", service="llm", status="200") == 1
    assert rig.entries() == []


def test_requests_in_flight_are_shown() -> None:
    rig = Rig()
    rig.service.active_requests = 3
    assert rig.value("janua_active_requests") == 3
