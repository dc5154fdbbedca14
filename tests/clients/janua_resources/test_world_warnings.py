from datetime import UTC, datetime

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from janua.config.v1.consumer_pb2 import ApiKey, Consumer
from janua.config.v1.policy_pb2 import ApiKeyAuth, Policy
from janua.config.v1.route_pb2 import FALLBACK_ON_TIMEOUT, Backend, Route
from janua.config.v1.secret_pb2 import Secret
from janua.config.v1.service_pb2 import Credential, ProxyService, Service, UpstreamService
from janua.config.v1.upstream_pb2 import Endpoint, Upstream
from janua_resources.kinds import ConfigMessage, kind_of
from janua_resources.violations import CLEARTEXT_CREDENTIAL, EXPIRED_KEY, NO_EFFECT, OPEN_ROUTE, UNUSED, VERSION_IN_PATH
from janua_resources.world import warnings

NOW = datetime(2026, 1, 1, tzinfo=UTC)

KEYS = Policy(name="keys", api_key_auth=ApiKeyAuth())
POOL = Upstream(name="pool", endpoints=[Endpoint(address="a:1")])
LOCAL = Service(name="local", upstream_service=UpstreamService(upstream="pool"))
KEY = Secret(name="key", env="KEY")


def route(*services: str, policies: tuple[str, ...] = ("keys",)) -> Route:
    return Route(name="chat", backends=[Backend(service=service) for service in services], policies=policies)


def proxied(base_url: str, *secrets: str) -> Service:
    credentials = [Credential(secret=secret) for secret in secrets]
    return Service(name="proxy", proxy_service=ProxyService(provider="x", base_url=base_url, credentials=credentials))


def found(*messages: ConfigMessage) -> list[tuple[str, str, str]]:
    world = {(kind_of(message).kind, message.name): message for message in messages}
    return sorted((warning.name, warning.field, warning.reason) for warning in warnings(world, now=NOW))


def test_a_world_as_it_should_be_has_no_warnings() -> None:
    # One endpoint without health checks is a choice, not a mistake.
    assert found(KEYS, POOL, LOCAL, route("local"), Consumer(name="alice")) == []


def test_a_route_without_authentication_is_open() -> None:
    assert found(POOL, LOCAL, route("local", policies=())) == [("chat", "policies", OPEN_ROUTE)]


def test_a_policy_that_is_not_there_protects_nothing() -> None:
    assert found(POOL, LOCAL, route("local")) == [("chat", "policies", OPEN_ROUTE)]


@pytest.mark.parametrize("message", [KEYS, POOL, LOCAL, KEY])
def test_what_nothing_names_is_unused(message: ConfigMessage) -> None:
    assert found(message) == [(message.name, "", UNUSED)]


@pytest.mark.parametrize(
    ("expires", "expired"),
    [
        (None, False),
        (Timestamp(seconds=int(NOW.timestamp())), True),
        (Timestamp(seconds=int(NOW.timestamp()) - 1, nanos=999_999_999), True),
        (Timestamp(seconds=int(NOW.timestamp()) + 1), False),
        (Timestamp(seconds=-(2**60)), True),
        (Timestamp(seconds=2**60), False),
    ],
)
def test_an_expired_key_is_named(expires: Timestamp | None, expired: bool) -> None:
    consumer = Consumer(name="alice", api_keys=[ApiKey(label="new"), ApiKey(label="old", expires=expires)])
    assert found(consumer) == ([("alice", "api_keys[1].expires", EXPIRED_KEY)] if expired else [])


@pytest.mark.parametrize(
    ("service", "reasons"),
    [
        (proxied("http://box.example", "key"), [CLEARTEXT_CREDENTIAL]),
        (proxied("https://box.example", "key"), []),
        (proxied("http://127.0.0.1:1", "key"), []),
        (proxied("http://localhost", "key"), []),
        (proxied("http://box.example"), []),
        (proxied("https://box.example/v1"), [VERSION_IN_PATH]),
        (proxied("https://box.example/api/v1/", "key"), [VERSION_IN_PATH]),
        (proxied("nonsense", "key"), []),
    ],
)
def test_proxy_services_that_work_and_should_not(service: Service, reasons: list[str]) -> None:
    base: list[ConfigMessage] = [KEYS, route("proxy"), service]
    messages = [*base, KEY] if service.proxy_service.credentials else base
    assert [reason for _, _, reason in found(*messages)] == reasons


def test_settings_without_effect_are_told_beside_the_rest() -> None:
    idle = Upstream(name="pool", endpoints=[Endpoint(address="http://a/v1")])
    idle.circuit_breakers.max_pending_requests = 1
    alone = route("local", policies=())
    alone.fallback_on.append(FALLBACK_ON_TIMEOUT)
    assert found(KEYS, idle, LOCAL, alone) == [
        ("chat", "fallback_on", NO_EFFECT),
        ("chat", "policies", OPEN_ROUTE),
        ("keys", "", UNUSED),
        ("pool", "circuit_breakers.max_pending_requests", NO_EFFECT),
        ("pool", "endpoints[0].address", VERSION_IN_PATH),
    ]


def test_an_endpoint_with_a_version_in_its_path_is_named() -> None:
    pool = Upstream(
        name="pool",
        endpoints=[Endpoint(address="a:1"), Endpoint(address="http://b/v1"), Endpoint(address="nonsense")],
    )
    assert found(KEYS, pool, LOCAL, route("local")) == [("pool", "endpoints[1].address", VERSION_IN_PATH)]
