"""Authentication by API key: where the key is taken from, whose it is, until when, and that it is never shown."""

import time
import traceback
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.snapshot import ApiKeyAuthConfig, ApiKeyConfig, ConsumerConfig, PolicyConfig
from gateway.context import RequestContext
from gateway.errors import UnauthenticatedError
from gateway.filters.api_key_auth import ApiKeyAuth
from gateway.filters.api_keys import KeyIndex, KeyOwner
from gateway.filters.limits.state import LimitState
from gateway.filters.node_services import NodeServices
from gateway.filters.phases import Authenticator
from gateway.filters.published_keys import KeyDirectory, KeyFetcher
from gateway.filters.table import build_filters
from gateway.telemetry.metrics import Metrics
from gateway.types import Operation

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def consumer(name: str, *keys: bytes, expires: datetime | None = None) -> ConsumerConfig:
    return ConsumerConfig(
        name=name, api_keys=tuple(ApiKeyConfig(sha256=sha256(key).hexdigest(), expires=expires) for key in keys)
    )


ANN = consumer("ann", b"key-a", b"key-a2")
BOB = consumer("bob", b"key-b")
KEYS = KeyIndex.of([ANN, BOB], now=lambda: NOW)


def context(headers: Mapping[str, bytes] = MappingProxyType({})) -> RequestContext:
    return RequestContext(
        request_id="r",
        protocol="http",
        operation=Operation.CHAT,
        method="POST",
        path="/",
        host="",
        query_string=b"",
        headers={name.encode(): value for name, value in headers.items()},
        model="m",
        is_streaming=False,
        client_address="",
        started=0.0,
    )


def authenticate(headers: Mapping[str, bytes], keys: KeyIndex = KEYS, *, optional: bool = False) -> str | None:
    found = run(ApiKeyAuth(ApiKeyAuthConfig(optional=optional), keys).authenticate(context(headers)))
    return None if found is None else found.name


def run(coroutine: Coroutine[None, None, ConsumerConfig | None]) -> ConsumerConfig | None:
    """What a coroutine that never waits returns."""
    with pytest.raises(StopIteration) as end:
        coroutine.send(None)
    found: ConsumerConfig | None = end.value.value
    return found


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({"authorization": b"Bearer key-a"}, "ann"),
        ({"authorization": b"Bearer key-a2"}, "ann"),
        ({"authorization": b"bearer key-b"}, "bob"),
        ({"authorization": b"BEARER   key-b  "}, "bob"),
        ({"x-api-key": b"key-a"}, "ann"),
        ({"x-api-key": b" key-a "}, "ann"),
        ({"api-key": b"key-a"}, "ann"),
        ({"x-goog-api-key": b"key-a"}, "ann"),
        ({"authorization": b"Bearer key-a", "x-api-key": b"key-b", "api-key": b"x", "x-goog-api-key": b"x"}, "ann"),
        ({"x-api-key": b"key-b", "api-key": b"key-a", "x-goog-api-key": b"key-a"}, "bob"),
        ({"api-key": b"key-b", "x-goog-api-key": b"key-a"}, "bob"),
        ({"authorization": b"Basic dXNlcjpwYXNz", "x-api-key": b"key-b"}, "bob"),
        ({"authorization": b"Bearer ", "x-api-key": b"key-b"}, "bob"),
        ({"authorization": b"", "x-api-key": b"", "api-key": b"key-b"}, "bob"),
    ],
)
def test_key_is_found(headers: dict[str, bytes], name: str) -> None:
    assert authenticate(headers) == name


def test_what_is_compared_of_a_key_is_its_digest() -> None:
    """The time that a comparison takes tells how much was right: of a digest that helps nobody."""
    compared: list[object] = []

    class Watched(bytes):
        __hash__ = bytes.__hash__

        def __eq__(self, other: object) -> bool:
            compared.append(other)
            return bytes.__eq__(self, other)

    owners: dict[bytes, KeyOwner] = {Watched(digest): owner for digest, owner in KEYS.owners.items()}
    watched = KeyIndex(owners, KEYS.now)
    assert authenticate({"x-api-key": b"key-a"}, watched) == "ann"
    assert compared == [sha256(b"key-a").digest()]
    with pytest.raises(UnauthenticatedError):
        authenticate({"x-api-key": b"key-"}, watched)
    assert compared == [sha256(b"key-a").digest()]


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": b"Bearer wrong"},
        {"authorization": b"Bearer key-a key-a"},
        {"authorization": b"Bearer key-a, Bearer key-a"},
        {"authorization": b"Bearer KEY-A"},
        {"authorization": b"Bearer Bearer key-a"},
        {"x-api-key": b"Bearer key-a"},
        {"x-api-key": b"key-a, key-a"},
        {"x-api-key": sha256(b"key-a").hexdigest().encode()},
        {"authorization": b"Bearer wrong", "x-api-key": b"key-a"},
        {"authorization": b"Bearer \xff\xfe\x00"},
        {"x-api-key": b"x" * 100_000},
    ],
)
@pytest.mark.parametrize("optional", [False, True])
def test_wrong_key_is_refused(headers: dict[str, bytes], optional: bool) -> None:
    with pytest.raises(UnauthenticatedError, match="the API key is not known") as caught:
        authenticate(headers, optional=optional)
    assert caught.value.reason == "INVALID_API_KEY"


NO_KEY: list[dict[str, bytes]] = [
    {},
    {"authorization": b""},
    {"authorization": b"Bearer"},
    {"authorization": b"Bearer   "},
    {"authorization": b"Basic dXNlcjpwYXNz"},
    {"authorization": b"key-a"},
    {"x-api-key": b""},
    {"api-key": b"  "},
    {"cookie": b"key=key-a"},
]


@pytest.mark.parametrize("headers", NO_KEY)
def test_no_key_is_refused(headers: dict[str, bytes]) -> None:
    with pytest.raises(UnauthenticatedError, match="an API key is needed") as caught:
        authenticate(headers)
    assert caught.value.reason == "MISSING_API_KEY"


@pytest.mark.parametrize("headers", NO_KEY)
def test_no_key_may_be_allowed(headers: dict[str, bytes]) -> None:
    assert authenticate(headers, optional=True) is None


@pytest.mark.parametrize("headers", NO_KEY)
def test_consumer_whose_key_is_empty_is_not_everybody(headers: dict[str, bytes]) -> None:
    """A key made from an unset variable: `printf %s "$KEY" | sha256sum`."""
    keys = KeyIndex.of([consumer("careless", b"")])
    assert authenticate(headers, keys, optional=True) is None


@pytest.mark.parametrize(
    ("expires", "is_valid"),
    [
        (None, True),
        (NOW + timedelta(microseconds=1), True),
        (NOW, False),
        (NOW - timedelta(microseconds=1), False),
        (datetime(1, 1, 1, tzinfo=UTC), False),
        (datetime(9999, 12, 31, tzinfo=UTC), True),
    ],
)
@pytest.mark.parametrize("optional", [False, True])
def test_key_expires_at_its_moment(expires: datetime | None, is_valid: bool, optional: bool) -> None:
    keys = KeyIndex.of([consumer("ann", b"k", expires=expires)], now=lambda: NOW)
    if is_valid:
        assert authenticate({"x-api-key": b"k"}, keys, optional=optional) == "ann"
    else:
        with pytest.raises(UnauthenticatedError, match="has expired") as caught:
            authenticate({"x-api-key": b"k"}, keys, optional=optional)
        assert caught.value.reason == "EXPIRED_API_KEY"


def test_default_clock_is_the_wall_clock() -> None:
    keys = KeyIndex.of([consumer("ann", b"k", expires=datetime.now(UTC) - timedelta(seconds=1))])
    with pytest.raises(UnauthenticatedError, match="has expired"):
        authenticate({"x-api-key": b"k"}, keys)


@given(st.binary(min_size=1).filter(lambda key: key == key.strip() and b"\n" not in key))
def test_any_bytes_can_be_a_key(key: bytes) -> None:
    keys = KeyIndex.of([consumer("ann", key)])
    assert authenticate({"x-api-key": key}, keys) == "ann"
    assert authenticate({"authorization": b"Bearer " + key}, keys) == "ann"


def test_policy_becomes_its_filter() -> None:
    policy = PolicyConfig(name="keys", spec=ApiKeyAuthConfig(optional=True))
    services = NodeServices(
        keys=KEYS,
        limits=LimitState(metrics=Metrics()),
        metrics=Metrics(),
        subjects={},
        published_keys=KeyDirectory(KeyFetcher(), time.monotonic),
    )
    built = build_filters({"keys": policy}, services)["keys"]
    assert isinstance(built, Authenticator)
    assert run(built.authenticate(context())) is None


SECRET = b"sk-very-secret"


@pytest.mark.parametrize(
    "show",
    [
        lambda: repr(context({"authorization": b"Bearer " + SECRET})),
        lambda: str(context({"x-api-key": SECRET})),
        lambda: repr(KeyIndex.of([consumer("ann", SECRET)])),
        lambda: failure({"authorization": b"Bearer " + SECRET}),
    ],
)
def test_key_is_never_shown(show: Callable[[], str]) -> None:
    assert SECRET.decode() not in show()


def failure(headers: Mapping[str, bytes]) -> str:
    with pytest.raises(UnauthenticatedError) as caught:
        authenticate(headers)
    return "".join(traceback.format_exception(caught.value)) + repr(caught.value)
