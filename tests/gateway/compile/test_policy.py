"""`Policy` messages."""

from ipaddress import ip_network

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import ParseDict
from janua.config.v1.policy_pb2 import AllowedRequests, ApiKeyAuth, Authorization, Cache, IpFilter, Policy
from janua_resources.policy_rules import PLACES

from gateway.compile.policy import compile_policy
from gateway.config import snapshot
from gateway.config.snapshot import (
    ApiKeyAuthConfig,
    AuthorizationConfig,
    CacheConfig,
    CacheScope,
    IpFilterConfig,
    PolicyConfig,
)
from gateway.filters.table import FILTERS


@pytest.mark.parametrize("optional", [False, True])
def test_api_key_auth(optional: bool) -> None:
    message = Policy(name="p", description="d", api_key_auth=ApiKeyAuth(optional=optional))
    assert compile_policy(message) == PolicyConfig(name="p", spec=ApiKeyAuthConfig(optional=optional))


def test_ip_filter() -> None:
    message = Policy(name="p", ip_filter=IpFilter(allow=["10.0.0.0/8", "192.0.2.1"], deny=["2001:db8::/32"]))
    assert compile_policy(message).spec == IpFilterConfig(
        allow=(ip_network("10.0.0.0/8"), ip_network("192.0.2.1/32")), deny=(ip_network("2001:db8::/32"),)
    )


def test_authorization() -> None:
    allow = [AllowedRequests(consumers=["a"], groups=["g"], models=["m*", "n"])]
    message = Policy(name="p", authorization=Authorization(allow=allow, expression="true"))
    assert compile_policy(message).spec == AuthorizationConfig(
        allow=(snapshot.AllowedRequests(consumers=frozenset({"a"}), groups=frozenset({"g"}), models=("m*", "n")),),
        expression="true",
    )


def test_cache() -> None:
    bare = Policy(name="p", cache=Cache(ttl=Duration(seconds=5)))
    assert compile_policy(bare).spec == CacheConfig(
        ttl_s=5, scope=CacheScope.CONSUMER, max_entry_bytes=1024 * 1024, single_flight=True, respect_cache_control=True
    )
    message = Policy(
        name="p",
        cache=Cache(
            ttl=Duration(nanos=500_000_000),
            scope=Cache.SCOPE_GROUP,
            store=Cache.STORE_MEMORY,
            max_entry_bytes=100,
            single_flight=False,
            respect_cache_control=False,
            stale_while_revalidate=Duration(seconds=7),
            bypass_groups=["staff"],
        ),
    )
    assert compile_policy(message).spec == CacheConfig(
        ttl_s=0.5,
        scope=CacheScope.GROUP,
        max_entry_bytes=100,
        single_flight=False,
        respect_cache_control=False,
        stale_s=7,
        bypass_groups=frozenset({"staff"}),
    )


def test_every_kind_of_policy_is_compiled_has_a_filter_and_a_place() -> None:
    kinds = [field.name for field in Policy.DESCRIPTOR.oneofs_by_name["spec"].fields]
    assert set(kinds) == set(PLACES)
    specs = {type(compile_policy(ParseDict({"name": "p", kind: {}}, Policy())).spec) for kind in kinds}
    assert specs == set(FILTERS)
    assert len(specs) == len(kinds)
