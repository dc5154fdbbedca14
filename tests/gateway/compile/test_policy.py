"""`Policy` messages."""

from ipaddress import ip_network

import pytest
import re2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import ParseDict
from janua.config.v1.policy_pb2 import (
    JWT_ALGORITHM_EDDSA,
    JWT_ALGORITHM_PS512,
    AllowedRequests,
    ApiKeyAuth,
    Authorization,
    Cache,
    Cors,
    IpFilter,
    JwtAlgorithm,
    JwtAuth,
    MtlsAuth,
    Policy,
    SemanticCache,
    SizeLimits,
)
from janua_resources.policy_rules import PLACES

from gateway.compile.policy import compile_policy
from gateway.compile.resource_table import ResourceTable
from gateway.compile.secret import SecretReader
from gateway.config import snapshot
from gateway.config.guardrail import (
    FindData,
    FindRegex,
    GuardrailAction,
    GuardrailConfig,
    PersonalData,
    SizeRule,
    TextRule,
)
from gateway.config.snapshot import (
    ApiKeyAuthConfig,
    AuthorizationConfig,
    CacheConfig,
    CacheScope,
    CorsConfig,
    IpFilterConfig,
    JwtAuthConfig,
    MtlsAuthConfig,
    PolicyConfig,
    SemanticConfig,
    SizeLimitsConfig,
)
from gateway.config.transform import (
    BodyEditsConfig,
    Bounds,
    ConversationEditsConfig,
    HeaderEditsConfig,
    TransformConfig,
)
from gateway.filters.key_set import BadKeySetError
from gateway.filters.table import FILTERS
from gateway.types import Message, Role, TextPart
from tests.gateway.compile.resources import resource
from tests.support.tokens import ec_key, jwk, key_set


@pytest.mark.parametrize("optional", [False, True])
def test_api_key_auth(optional: bool) -> None:
    message = Policy(name="p", description="d", api_key_auth=ApiKeyAuth(optional=optional))
    assert compile_policy(message) == PolicyConfig(name="p", spec=ApiKeyAuthConfig(optional=optional))


def test_mtls_auth() -> None:
    assert compile_policy(Policy(name="p", mtls_auth=MtlsAuth())).spec == MtlsAuthConfig()
    message = Policy(name="p", mtls_auth=MtlsAuth(optional=True, names=["CN=a", "*"]))
    assert compile_policy(message).spec == MtlsAuthConfig(optional=True, names=("CN=a", "*"))


@pytest.mark.parametrize("has_ca", [True, False])
def test_certificates_are_for_nodes_that_ask_for_them(has_ca: bool) -> None:
    table = ResourceTable(SecretReader(), has_client_ca=has_ca)
    policy = resource("policy", "p", mtls_auth={"optional": True})
    table.update(policy.type_url, [policy], ())
    found = [(each.reason, each.field) for each in table.all_rejections]
    assert found == ([] if has_ca else [("CLIENT_CA_MISSING", "mtls_auth")])


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


def test_jwt_auth() -> None:
    few = JwtAuth(issuer="i", audiences=["a"], jwks_uri="https://i/jwks")
    assert compile_policy(Policy(name="p", jwt_auth=few)).spec == JwtAuthConfig(
        issuer="i", audiences=frozenset({"a"}), jwks_uri="https://i/jwks", algorithms=frozenset({"RS256", "ES256"})
    )
    keys = key_set(jwk(ec_key()))
    all_fields = JwtAuth(
        issuer="i",
        jwks=keys,
        algorithms=[JWT_ALGORITHM_EDDSA, JWT_ALGORITHM_PS512],
        consumer_claim="mail",
        groups_claim="roles",
        leeway=Duration(seconds=0),
        optional=True,
        required_claims={"tier": "gold"},
        require_consumer=True,
        subject_prefix="corp/",
    )
    assert compile_policy(Policy(name="p", jwt_auth=all_fields)).spec == JwtAuthConfig(
        issuer="i",
        jwks=keys,
        algorithms=frozenset({"EdDSA", "PS512"}),
        consumer_claim="mail",
        groups_claim="roles",
        leeway_s=0,
        optional=True,
        required_claims={"tier": "gold"},
        require_consumer=True,
        subject_prefix="corp/",
    )


def test_every_algorithm_is_compiled() -> None:
    for name, value in JwtAlgorithm.items():
        if value:
            spec = compile_policy(Policy(name="p", jwt_auth=JwtAuth(algorithms=[value]))).spec
            assert isinstance(spec, JwtAuthConfig)
            (found,) = spec.algorithms
            assert name == f"JWT_ALGORITHM_{found.upper()}"


def test_key_set_without_a_usable_key() -> None:
    with pytest.raises(BadKeySetError):
        compile_policy(Policy(name="p", jwt_auth=JwtAuth(jwks='{"keys": [{}]}')))


def test_cors() -> None:
    assert compile_policy(Policy(name="p", cors=Cors(allow_origins=["*"]))).spec == CorsConfig(
        allow_origins=("*",), allow_methods=("GET", "HEAD", "POST")
    )
    all_fields = Cors(
        allow_origins=["HTTPS://App.example"],
        allow_methods=["PUT"],
        allow_headers=["Authorization"],
        expose_headers=["X-Request-Id"],
        allow_credentials=True,
        max_age=Duration(seconds=60),
    )
    assert compile_policy(Policy(name="p", cors=all_fields)).spec == CorsConfig(
        allow_origins=("https://app.example",),
        allow_methods=("PUT",),
        allow_headers=("authorization",),
        expose_headers=("x-request-id",),
        allow_credentials=True,
        max_age_s=60,
    )


def test_size_limits() -> None:
    assert compile_policy(Policy(name="p", size_limits=SizeLimits(max_body_bytes=0))).spec == SizeLimitsConfig(
        max_body_bytes=0
    )
    assert compile_policy(Policy(name="p", size_limits=SizeLimits(max_header_bytes=5))).spec == SizeLimitsConfig(
        max_header_bytes=5
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
            semantic=SemanticCache(
                service="embedder",
                model="vectors",
                threshold=0.5,
                max_candidates=7,
                timeout=Duration(seconds=2),
                max_text_bytes=100,
                dimensions=256,
            ),
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
        semantic=SemanticConfig(
            service="embedder",
            model="vectors",
            threshold=0.5,
            max_candidates=7,
            timeout_s=2,
            max_text_bytes=100,
            dimensions=256,
        ),
    )
    plain = compile_policy(Policy(name="p", cache=Cache(semantic=SemanticCache(service="s", model="m")))).spec
    assert isinstance(plain, CacheConfig)
    assert plain.semantic == SemanticConfig(
        service="s",
        model="m",
        threshold=0.95,
        max_candidates=100,
        timeout_s=0.5,
        max_text_bytes=2048,
        dimensions=None,
    )


def test_transform() -> None:
    text = {
        "request": {
            "set_headers": {"X-B": "'b'", "x-a": "'a'"},
            "remove_headers": ["X-C"],
            "set_body": {"a.0.b": "1"},
            "remove_body_fields": ["c"],
            "rename_body_fields": {"d": "e.f"},
            "set_defaults": {"max_tokens": 10, "temperature": 0},
            "clamp": {"max_tokens": {"min": 1, "max": 20}, "top_p": {"max": 0.5}},
            "prepend_messages": [{"role": "system", "content": "s"}],
            "append_messages": [{"role": "user", "content": "u"}],
        },
        "response": {"set_headers": {"x-d": "'d'"}, "remove_body_fields": ["id"]},
    }
    spec = compile_policy(ParseDict({"name": "p", "transform": text}, Policy())).spec
    assert spec == TransformConfig(
        request_headers=HeaderEditsConfig(set=(("x-a", "'a'"), ("x-b", "'b'")), removed=("x-c",)),
        request_body=BodyEditsConfig(set=((("a", "0", "b"), "1"),), removed=(("c",),), renamed=((("d",), ("e", "f")),)),
        conversation=ConversationEditsConfig(
            defaults={"max_output_tokens": 10, "temperature": 0.0},
            bounds=(("max_output_tokens", Bounds(min=1, max=20)), ("top_p", Bounds(max=0.5))),
            prepended=(Message(role=Role.SYSTEM, content=(TextPart(text="s"),)),),
            appended=(Message(role=Role.USER, content=(TextPart(text="u"),)),),
        ),
        answer_headers=HeaderEditsConfig(set=(("x-d", "'d'"),)),
        answer_body=BodyEditsConfig(removed=(("id",),)),
    )


def test_guardrail() -> None:
    rules = [
        {"pii": ["PERSONAL_DATA_EMAIL", "PERSONAL_DATA_IBAN"], "action": "GUARDRAIL_ACTION_MASK"},
        {"regex": "a+", "action": "GUARDRAIL_ACTION_DENY", "name": "a"},
        {"pii": ["PERSONAL_DATA_PHONE"], "action": "GUARDRAIL_ACTION_MASK", "replacement": "", "name": "tel"},
        {"max_input_bytes": 0, "action": "GUARDRAIL_ACTION_DENY"},
        {"max_messages": 3, "action": "GUARDRAIL_ACTION_REPORT", "name": "many"},
    ]
    text = {"rules": rules, "on": ["GUARDRAIL_SIDE_RESPONSE"]}
    mask, deny = GuardrailAction.MASK, GuardrailAction.DENY
    a = FindRegex(pattern="a+", compiled=re2.compile("a+"))
    assert compile_policy(ParseDict({"name": "p", "guardrail": text}, Policy())).spec == GuardrailConfig(
        texts=(
            TextRule(name="EMAIL", action=mask, check=FindData(kind=PersonalData.EMAIL), replacement="[EMAIL]"),
            TextRule(name="IBAN", action=mask, check=FindData(kind=PersonalData.IBAN), replacement="[IBAN]"),
            TextRule(name="a", action=deny, check=a, replacement="[a]"),
            TextRule(name="tel", action=mask, check=FindData(kind=PersonalData.PHONE), replacement=""),
        ),
        sizes=(
            SizeRule(name="MAX_INPUT_BYTES", action=deny, max_input_bytes=0),
            SizeRule(name="many", action=GuardrailAction.REPORT, max_messages=3),
        ),
        on_requests=False,
        on_answers=True,
        window=128,
    )


def test_every_kind_of_policy_is_compiled_has_a_filter_and_a_place() -> None:
    kinds = [field.name for field in Policy.DESCRIPTOR.oneofs_by_name["spec"].fields]
    assert set(kinds) == set(PLACES)
    specs = {type(compile_policy(ParseDict({"name": "p", kind: {}}, Policy())).spec) for kind in kinds}
    assert specs == set(FILTERS)
    assert len(specs) == len(kinds)
