"""The accounting of requests: once each, however they end, and never with a key in it."""

import io
import json
import time
from typing import Any

import pytest

from gateway.config.prices import Price, PricedModel
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


def test_requests_and_those_that_failed_are_counted() -> None:
    service = Rig().service
    for status, reason in (("200", ""), ("404", "NO_ROUTE"), ("502", "UPSTREAM"), ("OK", ""), ("OK", "UPSTREAM_CUT")):
        service.settle(context(), status, reason)
    assert (service.failures.requests, service.failures.failed) == (5, 2)


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


def answered(**changes: Any) -> RequestContext:
    now = time.perf_counter()
    fields = {"route": "chat", "service": "llm", "first_content_at": now, "usage": Usage(input_tokens=10)}
    return context(**(fields | changes))


UNKNOWN = "janua_cost_unknown_total"


def test_cost_is_counted_once_and_kept_for_who_comes_after() -> None:
    rig = Rig()
    asked = answered(priced=PricedModel("m", Price(input=1e5)))
    rig.service.settle(asked, "200")
    assert asked.cost_usd == 1.0
    assert rig.value("janua_cost_usd_total", service="llm", model="m") == 1.0
    assert rig.entries()[0]["cost_usd"] == 1.0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"priced": PricedModel("other", None)}, "NO_PRICE"),
        ({"priced": PricedModel("other", Price(input=1)), "usage": None}, "NO_USAGE"),
    ],
)
def test_cost_that_is_not_known_is_no_cost_of_nothing(changes: dict[str, Any], reason: str) -> None:
    rig = Rig()
    asked = answered(**changes)
    rig.service.settle(asked, "200")
    assert asked.cost_usd is None
    assert rig.value(UNKNOWN, service="llm", model="other", reason=reason) == 1
    assert rig.value("janua_cost_usd_total", service="llm", model="other") is None
    assert "cost_usd" not in rig.entries()[0]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"first_content_at": None, "usage": None}, "503"),
        ({"operation": Operation.PROXY, "usage": None}, "404"),
        ({"operation": Operation.PROXY, "usage": None}, "502"),
    ],
)
def test_what_was_not_answered_has_no_cost(changes: dict[str, Any], status: str) -> None:
    rig = Rig()
    asked = answered(priced=PricedModel("m", Price(request=1)), **changes)
    rig.service.settle(asked, status)
    assert asked.cost_usd is None
    assert rig.value("janua_cost_usd_total", service="llm", model="m") is None
    assert rig.value(UNKNOWN, service="llm", model="m", reason="NO_USAGE") is None


def test_request_that_passes_through_costs_its_price() -> None:
    rig = Rig()
    passed = answered(priced=PricedModel("m", Price(request=2)), operation=Operation.PROXY, usage=None)
    rig.service.settle(passed, "200")
    assert rig.value("janua_cost_usd_total", service="llm", model="m") == 2


def test_counting_tokens_costs_nothing() -> None:
    rig = Rig()
    for price in (Price(request=2), Price(input=1), None):
        counted = answered(priced=PricedModel("m", price), operation=Operation.COUNT_TOKENS, usage=None)
        rig.service.settle(counted, "200")
        assert counted.cost_usd is None
    assert rig.value("janua_cost_usd_total", service="llm", model="m") is None
    for reason in ("NO_PRICE", "NO_USAGE"):
        assert rig.value(UNKNOWN, service="llm", model="m", reason=reason) is None


def test_caller_who_leaves_in_the_middle_is_charged_what_was_told() -> None:
    rig = Rig()
    rig.service.settle(answered(priced=PricedModel("m", Price(input=1e5)), is_streaming=True), "499", "CLIENT_GONE")
    assert rig.value("janua_cost_usd_total", service="llm", model="m") == 1


def test_answers_of_models_are_timed_by_operation() -> None:
    rig = Rig()
    now = time.perf_counter()
    usage = Usage(input_tokens=10, output_tokens=11)
    stream = answered(is_streaming=True, started=now - 3, first_content_at=now - 2, usage=usage)
    rig.service.settle(stream, "200")
    rig.service.settle(answered(operation=Operation.EMBEDDINGS, started=now - 1), "200")
    rig.service.settle(answered(operation=Operation.PROXY, started=now - 1, usage=None), "200")
    chat, embeddings = ({"route": "chat", "gen_ai_operation_name": name} for name in ("chat", "embeddings"))
    duration, per_token = "gen_ai_server_request_duration_seconds", "gen_ai_server_time_per_output_token_seconds"
    assert rig.value(f"{duration}_sum", **chat) == pytest.approx(3, abs=0.5)
    assert rig.value(f"{duration}_sum", **embeddings) == pytest.approx(1, abs=0.5)
    assert rig.value(f"{per_token}_sum", **chat) == pytest.approx(0.2, abs=0.05)
    assert rig.value(f"{per_token}_count", **embeddings) is None
    assert rig.value(f"{duration}_count", route="chat", gen_ai_operation_name="proxy") is None
