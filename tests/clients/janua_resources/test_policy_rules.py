"""When policies make sense, and where they may be named."""

from typing import Any

import pytest
import yaml
from janua_resources import documents, field_rules, rules
from janua_resources.kinds import kind_of
from janua_resources.world import check_world


def faults(policy: dict[str, Any], user: str = "route") -> list[tuple[str, str]]:
    """Field and message of everything wrong with a configuration in which that kind of resource names the policy."""
    config: dict[str, list[dict[str, Any]]] = {
        "upstreams": [{"name": "u", "endpoints": [{"address": "127.0.0.1:1"}]}],
        "services": [{"name": "s", "upstream_service": {"upstream": "u"}}],
        "routes": [{"name": "r", "match": {"models": ["*"]}, "backends": [{"service": "s"}]}],
        "consumers": [{"name": "c"}],
        "policies": [{"name": "p", **policy}],
    }
    config[f"{user}s"][0]["policies"] = ["p"]
    found = [located.message for located in documents.parse(yaml.safe_dump(config), source="test").resources]
    alone = [violation for message in found for violation in rules.check(message)]
    together = check_world({(kind_of(message).kind, message.name): message for message in found})
    return [(violation.field, violation.message) for violation in (*alone, *together)]


def jwt(**changes: Any) -> dict[str, Any]:
    """A `jwt_auth` policy with these things else."""
    spec = {"issuer": "https://id.example", "audiences": ["ai"], "jwks_uri": "https://id.example/jwks"}
    return {"jwt_auth": {**spec, **changes}}


@pytest.mark.parametrize(
    ("policy", "field", "text"),
    [
        ({"ip_filter": {"allow": ["10.0.0.1/8"]}}, "ip_filter.allow[0]", "is not an address or network"),
        ({"ip_filter": {"deny": ["::1", "host.example"]}}, "ip_filter.deny[1]", "is not an address or network"),
        ({"ip_filter": {}}, "ip_filter", "needs at least one of allow and deny"),
        ({"authorization": {}}, "authorization", "needs at least one of allow and expression"),
        ({"authorization": {"allow": [{}]}}, "authorization.allow[0]", "needs at least one of consumers"),
        ({"authorization": {"allow": [{"models": ["a*b"]}]}}, "authorization.allow[0].models[0]", "one * at the end"),
        ({"authorization": {"expression": "1 +"}}, "authorization.expression", "is not an expression of CEL"),
        ({"mtls_auth": {"names": ["a.example", "Search"]}}, "mtls_auth.names[1]", "nor a DNS name in lower case"),
        ({"mtls_auth": {"names": ["spiffe://a*"]}}, "mtls_auth.names[0]", "after its host"),
        (jwt(audiences=[]), "jwt_auth", "needs at least one of audiences and required_claims"),
        (jwt(jwks="{}"), "jwt_auth", "has both jwks_uri and jwks"),
        (jwt(jwks_uri="", issuer="id"), "jwt_auth.issuer", "without jwks_uri and jwks it must be a URL"),
        (jwt(jwks_uri="", issuer="http://id.example"), "jwt_auth.issuer", "must be https"),
        (jwt(jwks_uri="", issuer="https://id.example/?a"), "jwt_auth.issuer", "query"),
        (jwt(egress_proxy="http://proxy:1/x"), "jwt_auth.egress_proxy", "is not the address of a proxy"),
        (jwt(jwks_uri="http://id.example/jwks"), "jwt_auth.jwks_uri", "must be https"),
        (jwt(jwks_uri="id.example"), "jwt_auth.jwks_uri", "https://"),
        (jwt(jwks_uri="", jwks="{"), "jwt_auth.jwks", "is not a JSON Web Key Set"),
        (jwt(jwks_uri="", jwks='{"keys": []}'), "jwt_auth.jwks", "is not a JSON Web Key Set"),
        (jwt(jwks_uri="", jwks='{"keys": [1]}'), "jwt_auth.jwks", "is not a JSON Web Key Set"),
        (jwt(jwks_uri="", jwks='{"keys": [{"kty": "EC", "d": "sEcReT"}]}'), "jwt_auth.jwks", "key 0 of the set has"),
        (jwt(jwks_uri="", jwks='{"keys": [{"kty": "oct", "k": "sEcReT"}]}'), "jwt_auth.jwks", "private part"),
        ({"guardrail": {}}, "guardrail", "needs at least one of rules and webhook"),
        ({"guardrail": {"webhook": {"url": "guard.example"}}}, "guardrail.webhook.url", "https://"),
        (
            {"guardrail": {"webhook": {"url": "http://g.example", "egress_proxy": "http://p:1/x"}}},
            "guardrail.webhook.egress_proxy",
            "is not the address of a proxy",
        ),
        ({"cors": {"allow_origins": ["app.example"]}}, "cors.allow_origins[0]", "is not an origin"),
        ({"cors": {"allow_origins": ["https://app.example/"]}}, "cors.allow_origins[0]", "is not an origin"),
        ({"cors": {"allow_origins": ["https://a.*.example"]}}, "cors.allow_origins[0]", "is not an origin"),
        ({"cors": {"allow_origins": ["null"]}}, "cors.allow_origins[0]", "is not an origin"),
        ({"cors": {"allow_origins": ["https://a.example:443"]}}, "cors.allow_origins[0]", "port that browsers leave"),
        ({"cors": {"allow_origins": ["*"], "allow_credentials": True}}, "cors.allow_credentials", "the origin *"),
        ({"cors": {"allow_origins": ["*"], "max_age": "1.5s"}}, "cors.max_age", "must be whole seconds"),
        ({"size_limits": {}}, "size_limits", "needs at least one of max_body_bytes and max_header_bytes"),
        ({"transform": {}}, "transform", "changes nothing"),
    ],
)
def test_policy_that_cannot_work_is_wrong(policy: dict[str, Any], field: str, text: str) -> None:
    ((found, message),) = faults(policy)
    assert found == field
    assert text in message


@pytest.mark.parametrize(
    ("policy", "user", "is_right"),
    [
        ({"api_key_auth": {}}, "route", True),
        ({"api_key_auth": {}}, "service", False),
        ({"api_key_auth": {}}, "consumer", False),
        ({"ip_filter": {"allow": ["10.0.0.0/8"]}}, "route", True),
        ({"ip_filter": {"allow": ["10.0.0.0/8"]}}, "service", False),
        ({"ip_filter": {"allow": ["10.0.0.0/8"]}}, "consumer", False),
        (jwt(jwks_uri="http://127.0.0.1:1/jwks"), "route", True),
        ({"mtls_auth": {}}, "route", True),
        ({"mtls_auth": {}}, "service", False),
        ({"mtls_auth": {}}, "consumer", False),
        (jwt(), "service", False),
        (jwt(), "consumer", False),
        ({"cors": {"allow_origins": ["http://localhost:3000", "https://*.app.example", "*"]}}, "route", True),
        ({"cors": {"allow_origins": ["*"]}}, "service", False),
        ({"cors": {"allow_origins": ["*"]}}, "consumer", False),
        ({"size_limits": {"max_body_bytes": 0}}, "route", True),
        ({"size_limits": {"max_header_bytes": 1}}, "consumer", True),
        ({"cache": {"ttl": "5s"}}, "route", True),
        ({"cache": {"ttl": "5s"}}, "service", False),
        ({"cache": {"ttl": "5s"}}, "consumer", False),
        ({"authorization": {"expression": "true"}}, "route", True),
        ({"authorization": {"expression": "true"}}, "service", True),
        ({"authorization": {"expression": "true"}}, "consumer", True),
        ({"rate_limit": {"limits": [{"limit": 1, "window": "1s"}]}}, "route", True),
        ({"rate_limit": {"limits": [{"limit": 1, "window": "1s"}]}}, "consumer", True),
        ({"rate_limit": {"limits": [{"limit": 1, "window": "1s", "key": "SERVICE"}]}}, "service", True),
        ({"budget": {"tokens": 1}}, "route", True),
        ({"budget": {"tokens": 1}}, "service", True),
        ({"budget": {"tokens": 1}}, "consumer", True),
        ({"transform": {"request": {"remove_headers": ["x-a"]}}}, "route", True),
        ({"transform": {"request": {"remove_headers": ["x-a"]}}}, "service", True),
        ({"transform": {"request": {"remove_headers": ["x-a"]}}}, "consumer", True),
        ({"guardrail": {"rules": [{"pii": ["EMAIL"], "action": "MASK"}]}}, "route", True),
        ({"guardrail": {"rules": [{"pii": ["EMAIL"], "action": "MASK"}]}}, "service", True),
        ({"guardrail": {"rules": [{"pii": ["EMAIL"], "action": "MASK"}]}}, "consumer", True),
    ],
)
def test_policies_are_named_where_they_have_an_effect(policy: dict[str, Any], user: str, is_right: bool) -> None:
    found = faults(policy, user)
    if is_right:
        assert found == []
    else:
        ((field, message),) = found
        assert field == "policies[0]"
        assert f"which is for routes, not for a {user}" in message


def test_sizes_are_not_for_services() -> None:
    ((field, message),) = faults({"size_limits": {"max_body_bytes": 1}}, "service")
    assert field == "policies[0]"
    assert "which is for routes and consumers, not for a service" in message


def test_secrets_in_key_sets_are_not_repeated() -> None:
    ((_, message),) = faults(jwt(jwks_uri="", jwks='{"keys": [{"kty": "EC", "d": "sEcReT"}]}'))
    assert "sEcReT" not in message


def test_one_cache_is_enough_for_a_route() -> None:
    policies = [{"name": name, "cache": {"ttl": "5s"}} for name in ("one", "two")]
    route = {"name": "r", "match": {"models": ["*"]}, "backends": [{"service": "s"}], "policies": ["one", "two"]}
    config = {
        "upstreams": [{"name": "u", "endpoints": [{"address": "127.0.0.1:1"}]}],
        "services": [{"name": "s", "upstream_service": {"upstream": "u"}}],
        "routes": [route],
        "policies": policies,
    }
    found = [located.message for located in documents.parse(yaml.safe_dump(config), source="test").resources]
    messages = {(kind_of(message).kind, message.name): message for message in found}
    (violation,) = check_world(messages)
    assert (violation.field, violation.message) == (
        "policies[1]",
        "policy 'one' is of kind cache too, of which there can be one only",
    )


SEMANTIC = {"service": "s", "model": "m"}


@pytest.mark.parametrize(
    ("cache", "fields"),
    [
        ({"semantic": SEMANTIC}, []),
        ({"semantic": {**SEMANTIC, "threshold": 1, "max_candidates": 1000, "timeout": "10s"}}, []),
        ({"semantic": SEMANTIC, "store": "SHARED"}, ["cache.semantic"]),
        ({"semantic": {}}, ["cache.semantic.model", "cache.semantic.service"]),
        ({"semantic": {**SEMANTIC, "threshold": 0}}, ["cache.semantic.threshold"]),
        ({"semantic": {**SEMANTIC, "threshold": -0.5}}, ["cache.semantic.threshold"]),
        ({"semantic": {**SEMANTIC, "threshold": 1.01}}, ["cache.semantic.threshold"]),
        ({"semantic": {**SEMANTIC, "max_candidates": 1001}}, ["cache.semantic.max_candidates"]),
        ({"semantic": {**SEMANTIC, "max_text_bytes": 65537}}, ["cache.semantic.max_text_bytes"]),
        ({"semantic": {**SEMANTIC, "dimensions": 16385}}, ["cache.semantic.dimensions"]),
        ({"semantic": {**SEMANTIC, "timeout": "0s"}}, ["cache.semantic.timeout"]),
        ({"semantic": {**SEMANTIC, "timeout": "11s"}}, ["cache.semantic.timeout"]),
    ],
)
def test_caches_that_find_by_meaning(cache: dict[str, Any], fields: list[str]) -> None:
    text = yaml.safe_dump({"policies": [{"name": "p", "cache": {"ttl": "5s", **cache}}]})
    (located,) = documents.parse(text, source="test").resources
    found = [*field_rules.check_fields(located.message), *rules.check(located.message)]
    assert sorted({violation.field for violation in found}) == fields
