"""What a diff names, and that it names everything."""

from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st
from janua.config.v1.policy_pb2 import ApiKeyAuth, Policy
from janua.config.v1.service_pb2 import ProxyService, RetryPolicy, Service, UpstreamService
from janua.config.v1.upstream_pb2 import Endpoint, HealthCheck, LoadBalancing, Upstream

from config_server.diff import diff
from tests.config_server.worlds import upstream


def told(old: Upstream | Service | Policy, new: Upstream | Service | Policy) -> list[tuple[str, str, str]]:
    return [(part.field, part.old_json, part.new_json) for part in diff(old, new)]


def test_equal_messages_do_not_differ() -> None:
    assert told(upstream("u"), upstream("u")) == []


def test_a_scalar() -> None:
    assert told(Upstream(description="a"), Upstream(description='"b"')) == [("description", '"a"', '"\\"b\\""')]
    assert told(Upstream(), Upstream(description="b")) == [("description", "", '"b"')]
    assert told(Upstream(description="a"), Upstream()) == [("description", '"a"', "")]


def test_an_optional_zero_is_a_value() -> None:
    old = Service(retry_policy=RetryPolicy())
    new = Service(retry_policy=RetryPolicy(num_retries=0))
    assert told(old, new) == [("retry_policy.num_retries", "", "0")]


def test_lists_are_compared_by_index() -> None:
    old = Upstream(endpoints=[Endpoint(address="a:1"), Endpoint(address="b:1", weight=2)])
    new = Upstream(endpoints=[Endpoint(address="a:1"), Endpoint(address="b:1", weight=3), Endpoint(address="c:1")])
    assert told(old, new) == [("endpoints[1].weight", "2", "3"), ("endpoints[2]", "", '{"address":"c:1"}')]
    assert told(new, old)[-1] == ("endpoints[2]", '{"address":"c:1"}', "")


def test_maps_are_compared_by_key() -> None:
    old, new = Upstream(labels={"a": "1", "b": "1"}), Upstream(labels={"b": "2", 'c"': "3"})
    assert told(old, new) == [('labels["a"]', '"1"', ""), ('labels["b"]', '"1"', '"2"'), ('labels["c\\""]', "", '"3"')]


def test_enums_have_their_names() -> None:
    old = Upstream(load_balancing=LoadBalancing(policy=LoadBalancing.POLICY_ROUND_ROBIN))
    new = Upstream(load_balancing=LoadBalancing(policy=LoadBalancing.POLICY_LEAST_REQUEST))
    assert told(old, new) == [("load_balancing.policy", '"POLICY_ROUND_ROBIN"', '"POLICY_LEAST_REQUEST"')]


def test_durations_are_one_value() -> None:
    old = Upstream(health_checks=[HealthCheck(interval=Duration(seconds=5))])
    new = Upstream(health_checks=[HealthCheck(interval=Duration(nanos=250_000_000))])
    assert told(old, new) == [("health_checks[0].interval", '"5s"', '"0.250s"')]


def test_another_choice_of_a_oneof_is_two_differences() -> None:
    old = Service(upstream_service=UpstreamService(upstream="u"))
    new = Service(proxy_service=ProxyService(provider="openai"))
    assert told(old, new) == [
        ("upstream_service", '{"upstream":"u"}', ""),
        ("proxy_service", "", '{"provider":"openai"}'),
    ]


def test_an_empty_message_that_appears() -> None:
    assert told(Policy(), Policy(api_key_auth=ApiKeyAuth())) == [("api_key_auth", "", "{}")]


endpoints = st.builds(Endpoint, address=st.text(max_size=3), weight=st.none() | st.integers(0, 2))
upstreams = st.builds(
    Upstream,
    description=st.text(max_size=2),
    labels=st.dictionaries(st.text(max_size=1), st.text(max_size=1), max_size=2),
    endpoints=st.lists(endpoints, max_size=3),
)


@given(upstreams, upstreams)
def test_there_is_a_difference_exactly_between_different_messages(old: Upstream, new: Upstream) -> None:
    found = told(old, new)
    assert bool(found) == (old != new)
    assert len({field for field, _, _ in found}) == len(found)
    assert told(new, old) == [(field, after, before) for field, before, after in found]
