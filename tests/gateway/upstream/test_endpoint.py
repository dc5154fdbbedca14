"""One endpoint, live: its URLs and its health."""

from datetime import UTC, datetime, timedelta

import pytest

from gateway.config.upstream import EndpointConfig, EndpointState
from gateway.upstream.endpoint import Endpoint

START = datetime(2030, 1, 1, tzinfo=UTC)
LATER = START + timedelta(seconds=5)


def endpoint(url: str = "http://127.0.0.1:8080", state: EndpointState = EndpointState.ACTIVE) -> Endpoint:
    return Endpoint(EndpointConfig(address="a", url=url, state=state), since=START, clock=lambda: 0.0)


@pytest.mark.parametrize(
    ("base", "path", "url"),
    [
        ("http://127.0.0.1:8080", "/v1/x", "http://127.0.0.1:8080/v1/x"),
        ("http://127.0.0.1:8080/base", "/v1/x", "http://127.0.0.1:8080/base/v1/x"),
        ("https://[::1]:8443/a%2Fb", "/v1/x?y=%20", "https://[::1]:8443/a%2Fb/v1/x?y=%20"),
    ],
)
def test_url_is_the_base_and_the_path(base: str, path: str, url: str) -> None:
    assert str(endpoint(base).url(path)) == url


def test_url_follows_the_configuration() -> None:
    changing = endpoint("http://127.0.0.1:8080/old")
    assert changing.url("/x").raw_path == "/old/x"
    changing.reconfigure(EndpointConfig(address="a", url="http://127.0.0.1:8080/new"))
    assert changing.url("/x").raw_path == "/new/x"


@pytest.mark.parametrize(
    ("state", "takes_requests", "is_checked"),
    [
        (EndpointState.ACTIVE, True, True),
        (EndpointState.DRAINING, False, True),
        (EndpointState.DISABLED, False, False),
    ],
)
def test_state(state: EndpointState, takes_requests: bool, is_checked: bool) -> None:
    assert endpoint(state=state).takes_requests is takes_requests
    assert state.is_checked is is_checked


def test_since_is_when_the_health_changed_last() -> None:
    checked = endpoint()
    checked.mark(0, healthy=True, reason="passed", now=LATER)
    assert (checked.is_healthy, checked.since) == (True, START)
    checked.mark(0, healthy=False, reason="bad", now=LATER)
    checked.mark(0, healthy=False, reason="worse", now=LATER + timedelta(seconds=5))
    assert (checked.is_healthy, checked.since, checked.reason) == (False, LATER, "worse")


def test_endpoints_are_told_apart_though_they_look_alike() -> None:
    assert endpoint() != endpoint()
    assert len({endpoint(), endpoint()}) == 2
