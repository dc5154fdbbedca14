"""`Service` messages: every field, and what stands for a field that is not set."""

from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from janua.config.v1 import service_pb2
from janua_resources import rules
from janua_resources.providers import PROVIDER_BASE_URLS

from gateway.compile.service import compile_retry, compile_service, compile_timeouts
from gateway.config.credential import AuthConfig, AwsAuth, HeaderAuth, QueryAuth
from gateway.config.prices import Price
from gateway.config.snapshot import (
    CredentialRef,
    Failure,
    ProviderTarget,
    RetryConfig,
    ServiceConfig,
    TimeoutsConfig,
    UpstreamTarget,
)
from gateway.types import Feature, Schema


def compiled(**fields: Any) -> ServiceConfig:
    message = ParseDict({"name": "s", **fields}, service_pb2.Service())
    assert rules.check(message) == []
    return compile_service(message)


def test_defaults_before_a_pool() -> None:
    assert compiled(upstream_service={"upstream": "u"}) == ServiceConfig(
        name="s",
        target=UpstreamTarget(upstream="u", path_prefix=""),
        schema=Schema.OPENAI,
        model_names={},
        retry=None,
        timeouts=TimeoutsConfig(),
    )


def test_defaults_before_a_provider() -> None:
    assert compiled(proxy_service={"provider": "groq"}).target == ProviderTarget(
        provider="groq", base_url="https://api.groq.com:443/openai", headers=()
    )


def test_every_field_before_a_pool() -> None:
    assert compiled(
        labels={"a": "b"},
        description="d",
        upstream_service={"upstream": "u", "schema": "SCHEMA_OPENAI", "path_prefix": "/api"},
        models=[{"name": "m", "upstream_name": "m.gguf"}, {"name": "n"}, {"name": "o", "upstream_name": "o"}],
        retry_policy={"num_retries": 0},
        timeouts={"connect": "1s"},
    ) == ServiceConfig(
        name="s",
        target=UpstreamTarget(upstream="u", path_prefix="/api"),
        schema=Schema.OPENAI,
        model_names={"m": "m.gguf", "o": "o"},
        retry=RetryConfig(num_retries=0),
        timeouts=TimeoutsConfig(connect_s=1.0),
    )


def test_every_field_before_a_provider() -> None:
    assert compiled(
        proxy_service={
            "provider": "custom",
            "base_url": "https://API.Example/base/",
            "credentials": [{"secret": "key"}, {"secret": "other", "weight": 3}],
            "headers": {"X-B": "2", "a": "1"},
            "auth": {"header": {"name": "X-Key"}},
        }
    ).target == ProviderTarget(
        provider="custom",
        base_url="https://api.example:443/base",
        credentials=(CredentialRef(secret="key"), CredentialRef(secret="other", weight=3)),
        auth=HeaderAuth(name="x-key", scheme=""),
        headers=(("a", "1"), ("x-b", "2")),
    )


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        ({"header": {}}, HeaderAuth(name="authorization", scheme="Bearer")),
        ({"header": {"scheme": "Token"}}, HeaderAuth(name="authorization", scheme="Token")),
        ({"header": {"name": "X-Key", "scheme": "Key"}}, HeaderAuth(name="x-key", scheme="Key")),
        ({"query": {"name": "key"}}, QueryAuth(name="key")),
        ({"aws_sigv4": {"service": "execute-api"}}, AwsAuth(service="execute-api")),
    ],
)
def test_how_a_provider_of_ones_own_wants_its_key(auth: dict[str, Any], expected: AuthConfig) -> None:
    proxy = {"provider": "custom", "base_url": "https://a", "auth": auth}
    target = compiled(proxy_service=proxy | ({"region": "eu-west-1"} if "aws_sigv4" in auth else {})).target
    assert isinstance(target, ProviderTarget)
    assert target.auth == expected


def test_what_a_provider_of_ones_own_speaks() -> None:
    proxy = {"provider": "custom", "base_url": "https://a"}
    assert compiled(proxy_service=proxy).schema is Schema.OPENAI
    assert compiled(proxy_service={**proxy, "schema": "SCHEMA_ANTHROPIC"}).schema is Schema.ANTHROPIC


@pytest.mark.parametrize(
    ("fields", "base_url", "region"),
    [
        (
            {"provider": "bedrock", "region": "eu-west-1"},
            "https://bedrock-runtime.eu-west-1.amazonaws.com:443",
            "eu-west-1",
        ),
        (
            {"provider": "bedrock", "base_url": "https://bedrock-runtime.us-east-1.amazonaws.com"},
            "https://bedrock-runtime.us-east-1.amazonaws.com:443",
            "us-east-1",
        ),
        (
            {"provider": "bedrock", "base_url": "https://box.example", "region": "us-east-2"},
            "https://box.example:443",
            "us-east-2",
        ),
        ({"provider": "bedrock", "base_url": "https://box.example"}, "https://box.example:443", ""),
        (
            {"provider": "vertex_ai", "project": "p", "region": "europe-west4"},
            "https://europe-west4-aiplatform.googleapis.com:443",
            "europe-west4",
        ),
        (
            {"provider": "vertex_ai", "project": "p", "region": "global"},
            "https://aiplatform.googleapis.com:443",
            "global",
        ),
        (
            {"provider": "vertex_ai", "project": "p", "region": "eu"},
            "https://aiplatform.eu.rep.googleapis.com:443",
            "eu",
        ),
    ],
)
def test_region(fields: dict[str, Any], base_url: str, region: str) -> None:
    target = compiled(proxy_service=fields).target
    assert isinstance(target, ProviderTarget)
    assert (target.base_url, target.region) == (base_url, region)


@pytest.mark.parametrize("provider", [name for name, url in PROVIDER_BASE_URLS.items() if url])
def test_every_provider_can_be_used(provider: str) -> None:
    target = compiled(proxy_service={"provider": provider}).target
    assert isinstance(target, ProviderTarget)
    assert target.provider == provider
    assert target.base_url


def retry(**fields: Any) -> RetryConfig:
    return compile_retry(ParseDict(fields, service_pb2.RetryPolicy()))


def test_empty_retry_policy_is_the_default_one() -> None:
    assert (
        retry()
        == RetryConfig()
        == RetryConfig(
            num_retries=2,
            retry_on=frozenset({Failure.CONNECT_FAILURE, Failure.RESET, Failure.GATEWAY_ERROR}),
            per_try_timeout_s=None,
            base_interval_s=0.025,
            max_interval_s=0.25,
        )
    )


def test_every_field_of_a_retry_policy() -> None:
    assert retry(
        num_retries=10,
        retry_on=["RETRY_ON_TIMEOUT"],
        per_try_timeout="1.5s",
        retry_back_off={"base_interval": "0.1s", "max_interval": "0.3s"},
    ) == RetryConfig(
        num_retries=10,
        retry_on=frozenset({Failure.TIMEOUT}),
        per_try_timeout_s=1.5,
        base_interval_s=0.1,
        max_interval_s=0.3,
    )


def test_longest_wait_is_ten_times_the_first() -> None:
    assert retry(retry_back_off={"base_interval": "2s"}).max_interval_s == 20.0


@pytest.mark.parametrize("number", [number for number in service_pb2.RetryOn.values() if number])
def test_every_failure_is_known(number: int) -> None:
    (kind,) = retry(retry_on=[number]).retry_on
    assert f"RETRY_ON_{kind.name}" == service_pb2.RetryOn.Name(service_pb2.RetryOn.ValueType(number))


def test_every_timeout() -> None:
    fields = {"connect": "1s", "request": "2s", "first_token": "3s", "stream_idle": "4s"}
    assert compile_timeouts(ParseDict(fields, service_pb2.Timeouts())) == TimeoutsConfig(
        connect_s=1.0, request_s=2.0, first_token_s=3.0, stream_idle_s=4.0
    )


def test_every_price_of_a_model() -> None:
    dollars = {
        "input": 1.5,
        "cached_input": 0,
        "cache_creation": 2,
        "audio_input": 3,
        "output": 4,
        "reasoning": 5,
        "audio_output": 6,
        "request": 0.01,
    }
    models = [{"name": "m", "price": dollars}, {"name": "free", "price": {}}, {"name": "n"}]
    service = compiled(upstream_service={"upstream": "u"}, models=models)
    assert service.prices == {
        "m": Price(
            input=1.5,
            cached_input=0,
            cache_creation=2,
            audio_input=3,
            output=4,
            reasoning=5,
            audio_output=6,
            request=0.01,
        ),
        "free": Price(),
    }
    assert not service.has_published_prices


def test_published_prices() -> None:
    service = compiled(proxy_service={"provider": "openai"}, price_list="PRICE_LIST_PUBLISHED")
    assert service.has_published_prices
    assert not compiled(proxy_service={"provider": "openai"}, price_list="PRICE_LIST_NONE").has_published_prices


def test_features_that_are_lacking() -> None:
    models = [{"name": "m", "unsupported_features": ["FEATURE_TOOLS"]}, {"name": "n"}]
    service = compiled(
        upstream_service={"upstream": "u"}, unsupported_features=["FEATURE_IMAGES", "FEATURE_AUDIO"], models=models
    )
    assert service.lacks == {Feature.IMAGES, Feature.AUDIO}
    assert service.models_lack == {"m": {Feature.TOOLS}}


@pytest.mark.parametrize("number", [number for number in service_pb2.Feature.values() if number])
def test_every_feature_is_known(number: int) -> None:
    (feature,) = compiled(upstream_service={"upstream": "u"}, unsupported_features=[number]).lacks
    assert f"FEATURE_{feature.name}" == service_pb2.Feature.Name(service_pb2.Feature.ValueType(number))
