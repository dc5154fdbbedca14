"""What callers want of a cache, with whom they share, and what gives up what is kept."""

from typing import Any

import pytest

from gateway.config.snapshot import (
    AllowedRequests,
    ApiKeyAuthConfig,
    AuthorizationConfig,
    BackendConfig,
    CacheConfig,
    CacheScope,
    ConsumerConfig,
    PolicyConfig,
    RouteConfig,
    RouteMatch,
    ServiceConfig,
    UpstreamTarget,
)
from gateway.context import RequestContext
from gateway.filters.authorization import Authorization
from gateway.filters.cache import Cache, Wish
from gateway.filters.phases import Filter, Filters
from gateway.filters.route_cache import RouteCache
from gateway.response_cache.response_cache import ResponseCache
from tests.gateway.filters.requests import context

STAFF = ConsumerConfig(name="alice", groups=frozenset({"staff", "admins"}))
GUEST = ConsumerConfig(name="guest")


def cache(**fields: Any) -> Cache:
    config = CacheConfig(**{"ttl_s": 5.0, "max_entry_bytes": 1000, **fields})
    return Cache(config, ResponseCache())


def asking(consumer: ConsumerConfig | None = None, **headers: str) -> RequestContext:
    sent = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return context(headers=sent, consumer=consumer)


@pytest.mark.parametrize(
    ("sent", "wish"),
    [
        ("", Wish()),
        ("no-transform, max-stale=5", Wish()),
        ("No-Store", None),
        ("max-age=5, no-store", None),
        ("no-cache", Wish(reads=False)),
        ('no-cache="set-cookie"', Wish(reads=False)),
        ("max-age=0", Wish(reads=False)),
        ("max-age=60", Wish(max_age_s=60.0)),
        ("max-age = 60", Wish(max_age_s=60.0)),
        ("max-age=x", Wish(reads=False)),
        ("max-age", Wish(reads=False)),
        ("max-age=-1", Wish(reads=False)),
        ("max-age=99999999999999999999", Wish(reads=False)),
    ],
)
def test_cache_control(sent: str, wish: Wish | None) -> None:
    request = asking(cache_control=sent) if sent else asking()
    assert cache().wish(request) == wish
    assert cache(respect_cache_control=False).wish(request) == Wish()


@pytest.mark.parametrize(
    ("consumer", "groups", "is_bypassed"),
    [(STAFF, {"staff"}, True), (STAFF, {"other"}, False), (STAFF, set(), False), (GUEST, {"staff"}, False),
     (None, {"staff"}, False)],
)  # fmt: skip
def test_bypass_is_for_some_groups(consumer: ConsumerConfig | None, groups: set[str], is_bypassed: bool) -> None:
    wish = cache(bypass_groups=frozenset(groups)).wish(asking(consumer, x_janua_cache="Bypass"))
    assert (wish is None) == is_bypassed


def test_scopes() -> None:
    own = cache()
    assert own.scope(asking(STAFF)) == ("consumer", "alice")
    assert own.scope(asking()) == ("anonymous",)
    by_group = cache(scope=CacheScope.GROUP)
    assert by_group.scope(asking(STAFF)) == ("groups", "admins", "staff")
    assert by_group.scope(asking(GUEST)) == ("consumer", "guest")
    assert by_group.scope(asking()) == ("anonymous",)
    assert cache(scope=CacheScope.ROUTE).scope(asking()) == cache(scope=CacheScope.ROUTE).scope(asking(STAFF))


SERVICE = ServiceConfig(name="s", target=UpstreamTarget(upstream="u"))
ROUTE = RouteConfig(
    name="chat", match=RouteMatch(models=("*",)), backends=(BackendConfig(service="s"),), policies=("cache", "keys")
)
POLICIES = {
    "cache": PolicyConfig(name="cache", spec=CacheConfig(ttl_s=5, max_entry_bytes=1000)),
    "keys": PolicyConfig(name="keys", spec=ApiKeyAuthConfig(optional=True)),
    "other": PolicyConfig(name="other", spec=AuthorizationConfig(expression="true")),
}


def route_cache(*filters: Filter, **fields: Any) -> RouteCache:
    known: dict[str, Any] = {"route": ROUTE, "services": [SERVICE], "policies": POLICIES}
    return RouteCache(cache(), of_services=[Filters.of(filters)], **{**known, **fields})


def test_version_changes_with_what_shapes_answers() -> None:
    base = route_cache().version(asking(GUEST))
    assert route_cache().version(asking(GUEST)) == base
    assert route_cache().version(asking()) == base
    renamed = ServiceConfig(name="s", target=UpstreamTarget(upstream="u"), model_names={"m": "n"})
    assert route_cache(services=[renamed]).version(asking(GUEST)) != base
    shorter = {**POLICIES, "cache": PolicyConfig(name="cache", spec=CacheConfig(ttl_s=4, max_entry_bytes=1000))}
    assert route_cache(policies=shorter).version(asking(GUEST)) != base


def test_policy_that_only_admits_changes_no_version() -> None:
    base = route_cache().version(asking(GUEST))
    stricter = {**POLICIES, "keys": PolicyConfig(name="keys", spec=ApiKeyAuthConfig(optional=False))}
    assert route_cache(policies=stricter).version(asking(GUEST)) == base
    admitted = ConsumerConfig(name="guest", policies=("other",))
    assert route_cache().version(asking(admitted)) == base


def test_policy_of_a_consumer_that_shapes_answers_makes_them_its_own() -> None:
    shaped = ConsumerConfig(name="guest", policies=("cache",))
    assert route_cache().version(asking(shaped)) != route_cache().version(asking(GUEST))


def test_caller_whom_a_service_may_refuse_shares_nothing() -> None:
    rule = Authorization(AuthorizationConfig(allow=(AllowedRequests(groups=frozenset({"staff"})),)))
    own = route_cache(rule)
    assert own.wish(asking(STAFF)) == Wish()
    assert own.wish(asking(GUEST)) is None
