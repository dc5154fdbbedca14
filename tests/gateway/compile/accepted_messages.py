"""Hypothesis strategies for resources that the rules accept, driven by the descriptors, so that new fields are covered.

What is drawn is likely to be right; what the rules still find is taken out of it.
"""

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeVar

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FieldDescriptor, OneofDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import reject
from hypothesis import strategies as st
from janua_resources.kinds import ConfigMessage
from janua_resources.violations import Violation

from tests.support.tokens import ec_key, jwk, key_set

_M = TypeVar("_M", bound=ConfigMessage)

_NUMBERS = {
    FieldDescriptor.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: st.one_of(st.integers(0, 3), st.integers(0, 2**32 - 1)),
    FieldDescriptor.CPPTYPE_UINT64: st.one_of(st.integers(0, 3), st.integers(0, 2**64 - 1)),
    FieldDescriptor.CPPTYPE_DOUBLE: st.one_of(st.floats(0, 100), st.integers(0, 100).map(float), st.floats()),
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
}

_PATHS = ["/", "/api", "/v1/chat/completions", "/v2/models/iris/infer", "/my.pkg.Service/Call"]

_KEY_SET = key_set(jwk(ec_key()))

# By the names of message and field.
_TEXTS = {
    "Endpoint.address": ["127.0.0.1:1", "box:80", "http://a/base", "https://b", "[::1]:9", "nowhere"],
    "Tls.server_name": ["", "box.example", "10.0.0.1"],
    "FileSource.file": ["/ca.pem"],
    "ClientCertificate.secret": ["certificate"],
    "Http.path": ["/health?full=1", "health"],
    "Http.host": ["", "box:80"],
    "Http.method": ["", "GET", "HEAD"],
    "HashPolicy.header": ["x-session-id"],
    "HashPolicy.cookie": ["sid"],
    "UpstreamService.upstream": ["u", "grpc"],
    "UpstreamService.path_prefix": ["", "/base"],
    "ProxyService.provider": ["openai", "groq", "custom", "vllm", "azure_openai", "bedrock", "vertex_ai"],
    "ProxyService.base_url": ["", "https://box.example/api", "http://127.0.0.1:1"],
    "ProxyService.region": ["", "eu-west-1", "global"],
    "ProxyService.project": ["", "my-project"],
    "ProxyService.egress_proxy": ["", "http://127.0.0.1:3128", "http://a:b@c", "https://d"],
    "ProxyService.api_version": ["", "2024-10-21", "preview"],
    "Header.name": ["", "X-Key", "a b"],
    "Header.scheme": ["", "Key"],
    "Query.name": ["key"],
    "AwsSigV4.service": ["execute-api"],
    "Credential.secret": ["key"],
    "Backend.service": ["v", "w"],
    "Mirror.service": ["v"],
    "Rewrite.path_prefix": ["/", "/base/", "base"],
    "Rewrite.host": ["", "inner.example:80"],
    "Redirect.scheme": ["", "https"],
    "Redirect.host": ["", "new.example"],
    "Redirect.path": ["", "/new"],
    "DirectResponse.content_type": ["", "text/html"],
    "Route.policies": ["p"],
    "Route.advertised_models": ["gemma-3", "a", "b"],
    "RouteMatch.hosts": ["a.example", "*.Example.com", "[::1]", "*"],
    "RouteMatch.methods": ["GET", "POST"],
    "RouteMatch.models": ["gemma-3", "gemma-*", "*"],
    "GrpcMatch.service": ["my.pkg.Service", "inference.GRPCInferenceService"],
    "GrpcMatch.method": ["", "Call"],
    "PathMatch.exact": _PATHS,
    "PathMatch.prefix": _PATHS,
    "PathMatch.regex": ["/a.*", "(/x|/y)", "("],
    "HeaderMatch.name": ["X-Tier", "a b"],
    "HeaderMatch.regex": ["[a-z]+", "["],
    "QueryParamMatch.regex": ["[01]", "["],
    "Service.policies": ["rule"],
    "Consumer.policies": ["rule"],
    "IpFilter.allow": ["10.0.0.0/8", "::1", "10.0.0.1/8", "x"],
    "IpFilter.deny": ["10.0.0.0/8", "::1", "x"],
    "AllowedRequests.models": ["gemma-3", "gemma-*", "*", "a*b"],
    "Authorization.expression": ["true", "request.path", "1 +"],
    "Limit.header": ["", "X-Team", "a b", "authorization"],
    "Limit.expression": ["", "request.path", "1 +"],
    "Budget.header": ["", "X-Team", "a b"],
    "Budget.expression": ["", "request.path", "1 +"],
    "JwtAuth.issuer": ["https://id.example", ""],
    "JwtAuth.jwks_uri": ["", "https://id.example/jwks", "http://127.0.0.1:1/jwks", "http://id.example/jwks"],
    "JwtAuth.jwks": ["{}", _KEY_SET],
    "MtlsAuth.names": ["spiffe://a.example/*", "a.example", "CN=a", "a*"],
    "Consumer.certificate_names": ["spiffe://a.example/b", "A.example", "CN=a,O=b"],
    "Cors.allow_origins": ["https://app.example", "https://*.app.example", "*", "x"],
    "Cors.allow_methods": ["GET", "POST", "get"],
    "Cors.allow_headers": ["authorization", "x-*", "*", "a b"],
    "Cors.expose_headers": ["x-request-id", "a b"],
    "RequestTransform.remove_headers": ["x-internal", "host"],
    "RequestTransform.remove_body_fields": ["options.think", "model", "a..b"],
    "AnswerTransform.remove_headers": ["server", "te"],
    "AnswerTransform.remove_body_fields": ["choices.0.index", "."],
    "PromptMessage.role": ["system", "tool"],
    "GuardrailRule.name": ["", "secret", "a b"],
    "GuardrailRule.regex": ["", "secret", "a*", "("],
    "GuardrailWebhook.url": [
        "https://guard.example/judge",
        "http://10.0.0.1:8080",
        "guard.example",
        "https://guard.example/?a",
    ],
    "GuardrailWebhook.egress_proxy": ["", "http://proxy.example:3128", "http://proxy.example/x"],
    "JwtAuth.egress_proxy": ["", "http://proxy.example:3128", "http://proxy.example/x"],
    "ApiKey.key_sha256": ["a" * 64, "b" * 64, "c"],
    "Secret.env": ["KEY"],
    "Secret.file": ["/secret"],
    "Secret.allowed_hosts": ["api.openai.com", "*.example.com"],
}
# What a resource of little use would be without.
_NEEDED = {
    "Upstream.endpoints",
    "FileSource.file",
    "ClientCertificate.secret",
    "UpstreamService.upstream",
    "ProxyService.provider",
    "Credential.secret",
    "Route.backends",
    "Backend.service",
    "Mirror.service",
    "RateLimit.limits",
    "Limit.limit",
    "Limit.window",
}
_OTHER_TEXT = st.sampled_from(["", "a", "b", "ä b", "x" * 300])
_DURATIONS = st.one_of(
    st.integers(0, 100_000).map(lambda millis: Duration(seconds=millis // 1000, nanos=millis % 1000 * 10**6)),
    st.sampled_from([Duration(seconds=315_576_000_000), Duration(seconds=-1), Duration(nanos=1)]),
)
_TIMESTAMPS = st.integers(0, 2**32).map(lambda seconds: Timestamp(seconds=seconds))


def accepted(message: type[_M], find: Callable[[_M], Sequence[Violation]]) -> st.SearchStrategy[_M]:
    """Messages named `x` in which `find` finds nothing wrong."""

    def repaired(drawn: _M) -> _M:
        drawn.name = "x"
        for _ in range(20):
            if not (found := find(drawn)):
                return drawn
            _clear(drawn, found[0].field)
        return reject()

    return _likely(message.DESCRIPTOR.full_name).map(repaired)


@cache
def _likely(full_name: str) -> st.SearchStrategy[Any]:
    descriptor = descriptor_pool.Default().FindMessageTypeByName(full_name)
    message = GetMessageClass(descriptor)
    oneofs = [st.sampled_from([each.name for each in oneof.fields]) for oneof in descriptor.oneofs if _is_real(oneof)]
    fields = [(field, _values(field)) for field in descriptor.fields]

    @st.composite
    def build(draw: st.DrawFn) -> Message:
        built: Message = message()
        chosen = {draw(oneof) for oneof in oneofs}
        for field, values in fields:
            is_of_oneof = field.containing_oneof is not None and _is_real(field.containing_oneof)
            is_given = field.name in chosen if is_of_oneof else _short_name(field) in _NEEDED or draw(st.booleans())
            if is_given:
                _set(built, field, draw(values))
        return built

    return build()


def _is_real(oneof: OneofDescriptor) -> bool:
    """As opposed to what an `optional` field is on paper."""
    return not oneof.name.startswith("_")


def _values(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return st.dictionaries(st.sampled_from(["x-a", "x-b"]), st.just("1"), max_size=2)
    if field.is_repeated:
        return st.lists(_one(field), min_size=1, max_size=3)
    return _one(field)


def _one(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        match field.message_type.full_name:
            case "google.protobuf.Duration":
                return _DURATIONS
            case "google.protobuf.Timestamp":
                return _TIMESTAMPS
            case _:
                return _likely(field.message_type.full_name)
    if field.enum_type is not None:
        return st.sampled_from([value.number for value in field.enum_type.values])
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        texts = _TEXTS.get(_short_name(field))
        return _OTHER_TEXT if texts is None else st.sampled_from(texts)
    return _NUMBERS[field.cpp_type]


def _short_name(field: FieldDescriptor) -> str:
    """The names of its message and of itself."""
    return ".".join(field.full_name.split(".")[-2:])


def _set(message: Message, field: FieldDescriptor, value: Any) -> None:
    if isinstance(value, list):
        getattr(message, field.name).extend(value)
    elif isinstance(value, dict):
        getattr(message, field.name).update(value)
    elif isinstance(value, Message):
        getattr(message, field.name).CopyFrom(value)
        getattr(message, field.name).SetInParent()
    else:
        setattr(message, field.name, value)


def _clear(message: Any, path: str) -> None:
    """Takes what stands at a path such as `endpoints[1].address` out of the message: the field, or the list entry."""
    *parents, last = re.findall(r"[a-z0-9_]+|\[\d+\]|\[\".*?\"\]", path)
    for step in parents:
        message = message[int(step[1:-1])] if step[0] == "[" else getattr(message, step)
    if last.startswith('["'):
        del message[last[2:-2]]
    elif last.startswith("["):
        del message[int(last[1:-1])]
    elif last in message.DESCRIPTOR.oneofs_by_name:
        reject()
    else:
        message.ClearField(last)
