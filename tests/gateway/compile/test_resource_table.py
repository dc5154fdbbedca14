"""What is in use, whatever the order of arrivals: references resolve at every moment, bad versions change nothing, and
what is consistent in the end is in use in the end."""

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from typing import TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from janua_resources.violations import (
    INVALID_FIELD,
    SECRET_HOST_NOT_ALLOWED,
    UNKNOWN_KIND,
    UNRESOLVED_REFERENCE,
)

from gateway.compile.resource_table import PRICES_NOT_INSTALLED, SECRET_UNREADABLE, UNDECODABLE, ResourceTable
from gateway.compile.secret import SecretReader
from gateway.config.resources import (
    CONSUMER,
    POLICY,
    RESOURCE_TYPES,
    ROUTE,
    SECRET,
    SERVICE,
    UPSTREAM,
    ReceivedResource,
)
from gateway.config.snapshot import UpstreamTarget
from tests.gateway.compile.resources import (
    ENVIRON,
    empty_table,
    names,
    policy,
    proxy,
    put,
    remove,
    resource,
    route,
    secret,
    service,
    unresolved,
    upstream,
)
from tests.support.token_issuer import entra_app


def reasons(table: ResourceTable) -> list[tuple[str, str, str]]:
    return [(each.name, each.reason, each.field) for each in table.all_rejections]


def refuse(table: ResourceTable, each: ReceivedResource) -> None:
    table.refuse_waiting(each.type_url, [each.name])


# Any order of arrival.

Change: TypeAlias = tuple[str, str, ReceivedResource | None]
"""Type, name, and the resource or None for its removal."""

NAMES = {
    SECRET: ("s0", "s1"),
    UPSTREAM: ("u0", "u1"),
    POLICY: ("p0",),
    SERVICE: ("v0", "v1"),
    CONSUMER: ("c0",),
    ROUTE: ("r0", "r1"),
}


def valid(
    type_url: str, name: str, refer: Callable[[str], st.SearchStrategy[str]]
) -> st.SearchStrategy[ReceivedResource]:
    """Good resources of that name; `refer` draws the name of something of a type."""
    match type_url:
        case t if t == SECRET:
            return st.sampled_from(["KEY", "OTHER"]).map(lambda env: secret(name, env))
        case t if t == UPSTREAM:
            return st.integers(1, 3).map(lambda port: upstream(name, f"127.0.0.1:{port}"))
        case t if t == POLICY:
            return st.booleans().map(lambda optional: policy(name, optional=optional))
        case t if t == SERVICE:
            return st.one_of(
                refer(UPSTREAM).map(lambda to: service(name, to)), refer(SECRET).map(lambda to: proxy(name, to))
            )
        case t if t == CONSUMER:
            return st.sampled_from("ab").map(
                lambda digit: resource("consumer", name, api_keys=[{"key_sha256": digit * 64}])
            )
        case _:
            policies: st.SearchStrategy[list[str]] = st.just([]) | refer(POLICY).map(lambda one: [one])
            return st.builds(lambda to, some: route(name, to, some), refer(SERVICE), policies)


def bad(type_url: str, name: str) -> st.SearchStrategy[ReceivedResource]:
    return st.sampled_from(
        [
            ReceivedResource(type_url, name, "undecodable", b"\xff\xff\xff"),
            ReceivedResource(type_url, name, "empty", b""),
        ]
    )


def anything_of(type_url: str) -> st.SearchStrategy[str]:
    return st.sampled_from([*NAMES[type_url], "missing"])


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Change], list[ReceivedResource]]:
    """Changes in any order, each name's own in theirs, and the consistent world that they end in."""
    final: dict[str, dict[str, ReceivedResource]] = {type_url: {} for type_url in RESOURCE_TYPES}
    for type_url in (SECRET, UPSTREAM, POLICY, SERVICE, CONSUMER, ROUTE):
        for name in NAMES[type_url]:

            def of_the_end(of: str) -> st.SearchStrategy[str]:
                return st.sampled_from(sorted(final[of])) if final[of] else st.nothing()

            strategy = valid(type_url, name, of_the_end)
            if draw(st.booleans()) and not strategy.is_empty:
                final[type_url][name] = draw(strategy)
    changes: dict[tuple[str, str], list[ReceivedResource | None]] = {}
    for type_url, of_type in NAMES.items():
        for name in of_type:
            some = st.one_of(valid(type_url, name, anything_of), bad(type_url, name), st.none())
            changes[type_url, name] = [*draw(st.lists(some, max_size=3)), final[type_url].get(name)]
    turns = draw(st.permutations([key for key, each in changes.items() for _ in each]))
    taken = Counter[tuple[str, str]]()
    ordered: list[Change] = []
    for key in turns:
        ordered.append((*key, changes[key][taken[key]]))
        taken[key] += 1
    return ordered, [each for of_type in final.values() for each in of_type.values()]


@settings(max_examples=150)
@given(histories())
def test_any_order_ends_in_the_same_snapshot(history: tuple[list[Change], list[ReceivedResource]]) -> None:
    changes, final = history
    table = empty_table()
    for type_url, name, each in changes:
        table.update(type_url, [each] if each else (), () if each else [name])
        assert unresolved(table.snapshot()) == []
    direct = empty_table()
    put(direct, *final)
    assert direct.all_rejections == []
    assert table.snapshot() == direct.snapshot()
    assert table.all_rejections == []
    assert {each.name: each.version for each in final if each.type_url == ROUTE} == table.held_versions(ROUTE)
    assert sorted(table.resources(), key=repr) == sorted(final, key=repr)


@settings(max_examples=50)
@given(histories())
def test_generation_tells_every_change_of_the_snapshot(history: tuple[list[Change], list[ReceivedResource]]) -> None:
    table = empty_table()
    before, generation = table.snapshot(), table.generation
    for type_url, name, each in history[0]:
        table.update(type_url, [each] if each else (), () if each else [name])
        if table.snapshot() != before:
            assert table.generation > generation
        before, generation = table.snapshot(), table.generation


# One order at a time.


def test_what_is_named_comes_first_or_is_waited_for() -> None:
    table = empty_table()
    put(table, route("r", "v", ["p"]), service("v"))
    assert names(table.snapshot()) == {}
    assert table.waiting(ROUTE, ["r"]) == ["r"]
    put(table, policy("p"))
    assert names(table.snapshot()) == {"policies": ["p"]}
    put(table, upstream("u"))
    assert names(table.snapshot()) == {"policies": ["p"], "upstreams": ["u"], "services": ["v"], "routes": ["r"]}
    assert table.waiting(ROUTE, ["r"]) == []
    assert table.all_rejections == []


def test_newer_version_waits_while_the_older_serves() -> None:
    table = empty_table()
    put(table, upstream("u"), service("v"))
    put(table, service("v", "u2"))
    target = table.snapshot().services["v"].target
    assert isinstance(target, UpstreamTarget)
    assert target.upstream == "u"
    assert table.held_versions(SERVICE) == {"v": service("v").version}
    put(table, upstream("u2"))
    assert table.held_versions(SERVICE) == {"v": service("v", "u2").version}


def test_version_that_waited_is_forgotten_for_a_newer_one() -> None:
    table = empty_table()
    put(table, upstream("u"), service("v"), service("v", "u2"), service("v"))
    put(table, upstream("u2"))
    assert table.held_versions(SERVICE) == {"v": service("v").version}


def test_equal_version_is_no_change() -> None:
    table = empty_table()
    put(table, upstream("u"), service("v"))
    snapshot, generation = table.snapshot(), table.generation
    put(table, service("v"), upstream("u"))
    assert table.generation == generation
    assert table.snapshot().services["v"] is snapshot.services["v"]


def test_version_and_not_content_says_what_is_equal() -> None:
    table = empty_table()
    put(table, replace(upstream("u", "127.0.0.1:1"), version="7"), replace(upstream("u", "127.0.0.1:2"), version="7"))
    assert table.snapshot().upstreams["u"].endpoints[0].address == "127.0.0.1:1"


BAD: dict[str, tuple[ReceivedResource, str, str]] = {
    "undecodable": (ReceivedResource(UPSTREAM, "u", "2", b"\xff\xff"), UNDECODABLE, ""),
    "another name": (replace(upstream("other"), name="u"), INVALID_FIELD, "name"),
    "a rule broken": (upstream("u", "no port"), INVALID_FIELD, "endpoints[0].address"),
    "two endpoints of one address": (
        resource("upstream", "u", endpoints=[{"address": "a:1"}, {"address": "a:1"}]),
        "DUPLICATE",
        "endpoints[1].address",
    ),
    "weight nought": (
        resource("upstream", "u", endpoints=[{"address": "a:1", "weight": 0}]),
        INVALID_FIELD,
        "endpoints[0].weight",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_version_is_refused_and_the_good_one_serves_on(what: str) -> None:
    worse, reason, field = BAD[what]
    table = empty_table()
    put(table, upstream("u"), service("v"))
    generation = table.generation
    put(table, worse)
    assert reasons(table) == [("u", reason, field)]
    (rejection,) = table.rejections(UPSTREAM, ["u"])
    assert (rejection.type_url, rejection.version) == (UPSTREAM, worse.version)
    assert rejection.message
    assert table.rejected_count == 1
    assert table.held_versions(UPSTREAM) == {"u": upstream("u").version}
    assert table.generation == generation
    put(table, upstream("u", "127.0.0.1:9"))
    assert table.all_rejections == []
    assert table.snapshot().upstreams["u"].endpoints[0].address == "127.0.0.1:9"


@pytest.mark.parametrize(
    ("each", "reason"),
    [
        (ReceivedResource(POLICY, "p", "1", policy("p").value[:3]), UNKNOWN_KIND),
        (resource("policy", "p"), UNKNOWN_KIND),
        (resource("service", "v"), UNKNOWN_KIND),
        (resource("secret", "s"), UNKNOWN_KIND),
        (resource("route", "r", backends=[{"service": "v"}], match={"path": {"regex": "("}}), INVALID_FIELD),
        (resource("consumer", "c", api_keys=[{"key_sha256": "zz"}]), INVALID_FIELD),
        (resource("consumer", "c", api_keys=[{"key_sha256": "AB" * 32}]), INVALID_FIELD),
        (secret("s", "NOT_SET"), SECRET_UNREADABLE),
        (secret("s", "EMPTY"), SECRET_UNREADABLE),
    ],
)
def test_bad_resource_is_refused(each: ReceivedResource, reason: str) -> None:
    table = empty_table()
    put(table, each)
    assert [(found.type_url, found.reason) for found in table.all_rejections] == [(each.type_url, reason)]
    assert names(table.snapshot()) == {}


def test_published_prices_that_the_node_does_not_have_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The version before serves on, and the first one that asks for nothing is taken."""
    spec = {"provider": "openai"}
    priced = resource("service", "v", proxy_service=spec, price_list="PRICE_LIST_PUBLISHED")
    table = empty_table()
    put(table, resource("service", "v", proxy_service=spec))
    with monkeypatch.context() as without_package:
        without_package.setitem(sys.modules, "genai_prices.data_snapshot", None)
        put(table, priced)
    assert reasons(table) == [("v", PRICES_NOT_INSTALLED, "price_list")]
    assert not table.snapshot().services["v"].has_published_prices
    put(table, resource("service", "v", proxy_service=spec, labels={"a": "b"}))
    assert table.all_rejections == []


def test_all_faults_of_a_resource_are_told_at_once() -> None:
    table = empty_table()
    put(table, resource("upstream", "u", endpoints=[{"address": "no port"}, {"address": "a:99999"}]))
    assert [field for _, _, field in reasons(table)] == ["endpoints[0].address", "endpoints[1].address"]


def test_good_resources_of_an_update_come_into_use_beside_a_bad_one() -> None:
    table = empty_table()
    table.update(UPSTREAM, [upstream("a"), upstream("b", "no port"), upstream("c")], ())
    assert names(table.snapshot()) == {"upstreams": ["a", "c"]}
    assert [name for name, _, _ in reasons(table)] == ["b"]


# Removal.


def test_removed_resource_is_gone() -> None:
    table = empty_table()
    put(table, upstream("u"))
    remove(table, upstream("u"))
    assert names(table.snapshot()) == {}
    assert table.held_versions(UPSTREAM) == {}


def test_removal_of_what_was_never_there_is_nothing() -> None:
    table = empty_table()
    remove(table, upstream("u"), route("r"))
    assert table.generation == 0


def test_removed_resource_serves_for_as_long_as_it_is_named() -> None:
    table = empty_table()
    put(table, upstream("u"), service("v"), route("r"))
    remove(table, upstream("u"), service("v"))
    assert names(table.snapshot()) == {"upstreams": ["u"], "services": ["v"], "routes": ["r"]}
    assert table.held_versions(UPSTREAM) == table.held_versions(SERVICE) == {}
    assert [each.type_url for each in table.resources()] == [ROUTE]
    remove(table, route("r"))
    assert names(table.snapshot()) == {}


def test_removed_resource_is_let_go_when_its_user_names_another() -> None:
    table = empty_table()
    put(table, upstream("u"), service("v"))
    remove(table, upstream("u"))
    put(table, service("v", "u2"), upstream("u2"))
    assert names(table.snapshot()) == {"upstreams": ["u2"], "services": ["v"]}


def test_removed_resource_that_comes_back_stays() -> None:
    table = empty_table()
    put(table, upstream("u"), service("v"))
    remove(table, upstream("u"))
    put(table, upstream("u"))
    remove(table, service("v"))
    assert names(table.snapshot()) == {"upstreams": ["u"]}


def test_removal_of_what_is_refused_or_waits_ends_that() -> None:
    table = empty_table()
    put(table, upstream("u", "no port"), service("v"))
    refuse(table, service("v"))
    assert table.rejected_count == 2
    remove(table, upstream("u"), service("v"))
    assert table.all_rejections == []
    put(table, upstream("u"))
    assert names(table.snapshot()) == {"upstreams": ["u"]}


def test_a_name_used_twice_counts_once() -> None:
    table = empty_table()
    two = resource("route", "r", backends=[{"service": "v", "weight": 1}, {"service": "v", "model_override": "m"}])
    put(table, upstream("u"), service("v"), two)
    remove(table, service("v"))
    remove(table, two)
    assert names(table.snapshot()) == {"upstreams": ["u"]}


def test_names_are_all_that_is_known() -> None:
    table = empty_table()
    put(table, upstream("u"), upstream("bad", "no port"), service("waits", "nowhere"), service("v"))
    remove(table, upstream("u"))
    assert table.names(UPSTREAM) == {"u", "bad"}
    assert table.names(SERVICE) == {"waits", "v"}


# Refusal after a wait, and recovery.


def test_waiting_long_enough_is_refused_with_the_field_that_leads_nowhere() -> None:
    table = empty_table()
    put(table, upstream("u"), service("v"), route("r", "v", ["p"]))
    refuse(table, route("r"))
    assert reasons(table) == [("r", UNRESOLVED_REFERENCE, "policies[0]")]
    assert "policy 'p' is not held by this node" in table.all_rejections[0].message
    assert table.waiting(ROUTE, ["r"]) == []


def test_refused_resource_comes_into_use_when_it_can_and_that_is_told_once() -> None:
    table = empty_table()
    put(table, service("v"))
    refuse(table, service("v"))
    assert table.take_recovered() == []
    put(table, upstream("u"))
    assert names(table.snapshot()) == {"upstreams": ["u"], "services": ["v"]}
    assert table.all_rejections == []
    assert table.take_recovered() == [(SERVICE, "v")]
    assert table.take_recovered() == []


def test_resource_that_was_never_refused_does_not_recover() -> None:
    table = empty_table()
    put(table, service("v"), upstream("u"))
    put(table, upstream("x", "no port"), upstream("x"))
    assert table.take_recovered() == []


def test_refusing_what_does_not_wait_is_nothing() -> None:
    table = empty_table()
    put(table, upstream("u"))
    table.refuse_waiting(UPSTREAM, ["u", "other"])
    assert table.all_rejections == []


# Secrets.


def test_secret_is_sent_only_where_it_may_go() -> None:
    table = empty_table()
    put(table, secret("s"), proxy("v", base_url="https://evil.example"))
    assert reasons(table) == [("v", SECRET_HOST_NOT_ALLOWED, "proxy_service.base_url")]
    assert "secret 's' may not be sent to evil.example" in table.all_rejections[0].message
    assert names(table.snapshot()) == {"secrets": ["s"]}
    assert table.waiting(SERVICE, ["v"]) == []


@pytest.mark.parametrize("is_told_first", [True, False])
def test_service_whose_host_the_newer_secret_allows_is_used_in_either_order(is_told_first: bool) -> None:
    table = empty_table()
    newer = [secret("s", allowed_hosts=["api.example"]), proxy("v", base_url="https://api.example")]
    put(table, secret("s"), proxy("v"))
    put(table, *(newer if is_told_first else reversed(newer)))
    assert table.held_versions(SERVICE) == {"v": newer[1].version}
    assert table.all_rejections == []
    assert table.take_recovered() == ([] if is_told_first else [(SERVICE, "v")])


def test_refused_service_still_has_its_secret_asked_for() -> None:
    table = empty_table()
    put(table, secret("s"), proxy("v", base_url="https://evil.example"), proxy("w", "t"), service("x"))
    assert table.secret_names() == {"s", "t"}


def test_secrets_are_read_again() -> None:
    environ = dict(ENVIRON)
    table = ResourceTable(SecretReader(environ=environ))
    put(table, secret("s", "KEY"), proxy("v"), secret("t", "OTHER"))
    generation = table.generation
    assert table.retry_secrets() == []
    assert table.generation == generation
    environ["KEY"] = "sk-new"
    assert table.retry_secrets() == []
    assert table.snapshot().secrets["s"].value.reveal() == "sk-new"
    assert table.snapshot().secrets["t"].value.reveal() == "sk-2"
    assert table.generation > generation


def test_secret_that_cannot_be_read_any_more_stays_as_it_was() -> None:
    environ = dict(ENVIRON)
    table = ResourceTable(SecretReader(environ=environ))
    put(table, secret("s", "KEY"), proxy("v"))
    del environ["KEY"]
    (unreadable,) = table.retry_secrets()
    assert (unreadable.name, unreadable.reason) == ("s", SECRET_UNREADABLE)
    assert table.all_rejections == []
    assert table.snapshot().secrets["s"].value.reveal() == "sk-1"


def test_secret_that_can_be_read_at_last_recovers_with_what_waited_for_it() -> None:
    environ: dict[str, str] = {}
    table = ResourceTable(SecretReader(environ=environ))
    put(table, secret("s", "KEY"), proxy("v"), route("r"))
    refuse(table, proxy("v"))
    refuse(table, route("r"))
    assert [name for name, _, _ in reasons(table)] == ["s", "v", "r"]
    table.retry_secrets()
    assert table.rejected_count == 3
    environ["KEY"] = "sk-1"
    table.retry_secrets()
    assert table.all_rejections == []
    assert table.take_recovered() == [(SECRET, "s"), (SERVICE, "v"), (ROUTE, "r")]
    assert names(table.snapshot()) == {"secrets": ["s"], "services": ["v"], "routes": ["r"]}


def test_secrets_never_appear_in_what_is_told() -> None:
    table = empty_table()
    put(table, secret("s"), proxy("v", base_url="https://evil.example"))
    shown = f"{table.all_rejections}{table.snapshot()}{list(table.messages())}{table.resources()}"
    assert "sk-1" not in shown


def test_messages_stand_in_the_order_of_kinds() -> None:
    table = empty_table()
    put(table, policy("p"), upstream("u"), service("v"), route("r"), secret("s"))
    assert [each.name for each in table.messages()] == ["s", "u", "p", "v", "r"]


# Secrets that are more than a key.

AWS_KEY = '{"access_key_id": "AKIA",\n"secret_access_key": "sk-aws"}'


def bedrock(name: str, provider: str = "bedrock", **fields: object) -> ReceivedResource:
    """A service whose secret may be an AWS credential."""
    spec = {"provider": provider, "base_url": "http://127.0.0.1:1", "credentials": [{"secret": "s"}], **fields}
    return resource("service", name, proxy_service=spec)


def reading(environ: dict[str, str]) -> ResourceTable:
    return ResourceTable(SecretReader(environ=environ))


def test_service_that_cannot_use_its_secret_is_refused_until_it_can() -> None:
    table = reading({"KEY": AWS_KEY})
    put(table, secret("s"), bedrock("v"))
    assert reasons(table) == [("v", INVALID_FIELD, "proxy_service.credentials[0].secret")]
    assert table.all_rejections[0].message == "secret 's' is an AWS credential, which needs proxy_service.region"
    put(table, bedrock("v", region="eu-west-1"))
    assert table.all_rejections == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (AWS_KEY, "secret 's' is JSON, which cannot be sent as a credential"),
        ("-----BEGIN CERTIFICATE-----\nsk-aws\n", "secret 's' is a certificate, which cannot be sent as a credential"),
    ],
)
def test_lines_are_no_key(text: str, told: str) -> None:
    table = reading({"KEY": text})
    put(table, secret("s"), proxy("v"))
    assert [each.message for each in table.all_rejections] == [told]


def test_secret_that_a_service_in_use_cannot_work_with_is_refused_and_the_one_before_stays() -> None:
    table = reading({"KEY": "sk-1", "OTHER": '{"access_key_id": "AKIA"}'})
    put(table, secret("s"), bedrock("v", region="eu-west-1"))
    put(table, secret("s", "OTHER"))
    assert reasons(table) == [("s", INVALID_FIELD, "env")]
    told = "service 'v' cannot use it: the secret has no secret_access_key"
    assert table.all_rejections[0].message == told
    assert table.snapshot().secrets["s"].value.reveal() == "sk-1"


def test_secret_and_service_that_fit_each_other_alone_come_into_use_together() -> None:
    table = reading({"KEY": "sk-1", "OTHER": AWS_KEY})
    put(table, secret("s"), proxy("v", base_url="http://127.0.0.1:1"))
    put(table, secret("s", "OTHER"))
    assert reasons(table) == [("s", INVALID_FIELD, "env")]
    put(table, bedrock("v", region="eu-west-1"))
    assert table.all_rejections == []
    assert table.snapshot().secrets["s"].value.reveal() == AWS_KEY


def test_secret_that_is_read_again_and_cannot_be_used_stays_as_it_was() -> None:
    environ = {"KEY": AWS_KEY}
    table = reading(environ)
    put(table, secret("s"), bedrock("v", region="eu-west-1"))
    environ["KEY"] = '{"access_key_id": "AKIA"}'
    assert [each.message for each in table.retry_secrets()] == [
        "service 'v' cannot use it: the secret has no secret_access_key"
    ]
    assert table.snapshot().secrets["s"].value.reveal() == AWS_KEY


def test_tokens_are_fetched_only_where_the_secret_may_go() -> None:
    table = reading({"KEY": entra_app("https://login.evil.example"), "NEW": entra_app("https://login.other.example")})
    azure = bedrock("v", provider="azure_openai")
    put(table, secret("s"), azure)
    assert reasons(table) == [("v", SECRET_HOST_NOT_ALLOWED, "proxy_service.credentials[0].secret")]
    assert "may not be sent to login.evil.example" in table.all_rejections[0].message
    put(table, secret("s", allowed_hosts=["127.0.0.1", "login.evil.example"]))
    assert table.all_rejections == []
    put(table, secret("s", "NEW", allowed_hosts=["127.0.0.1", "login.evil.example"]))
    assert reasons(table) == [("s", SECRET_HOST_NOT_ALLOWED, "env")]


def finding(name: str = "kept", embedder: str = "embedder") -> ReceivedResource:
    semantic = {"service": embedder, "model": "vectors"}
    return resource("policy", name, cache={"ttl": "5s", "semantic": semantic})


@pytest.mark.parametrize("length", [1, 2])
def test_cycle_of_caches_and_the_services_that_they_ask_is_refused_in_any_order(length: int) -> None:
    """A config server refuses it; another control plane may send it."""
    services = [
        resource("service", f"e{each}", upstream_service={"upstream": "u"}, policies=[f"p{(each + 1) % length}"])
        for each in range(length)
    ]
    caches = [finding(f"p{each}", f"e{each}") for each in range(length)]
    for order in permutations([upstream("u"), *services, *caches]):
        table = empty_table()
        put(table, *order)
        assert sorted(reasons(table)) == [(each.name, INVALID_FIELD, "policies[0]") for each in services]
        assert names(table.snapshot()) == {"upstreams": ["u"], "policies": [each.name for each in caches]}


def test_cache_does_not_wait_for_the_service_that_makes_its_vectors() -> None:
    """Policies come before services. Waiting for one would keep back all routes with the cache."""
    table = empty_table()
    put(table, upstream("u"), service("v", "u"), finding(), route("r", "v", ["kept"]))
    assert names(table.snapshot())["routes"] == ["r"]
    assert table.all_rejections == []
    put(table, service("embedder", "u"))
    assert names(table.snapshot())["services"] == ["embedder", "v"]
    remove(table, service("embedder"))
    assert names(table.snapshot())["services"] == ["v"]
    assert names(table.snapshot())["policies"] == ["kept"]
