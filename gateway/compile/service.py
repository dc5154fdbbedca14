"""`Service` messages to values, with the retry policies and timeouts that routes share."""

from collections.abc import Iterable
from types import MappingProxyType

from janua.config.v1 import service_pb2
from janua_resources.egress import base_address, region
from janua_resources.providers import PUBLISHED_PRICES

from gateway.compile.durations import optional_seconds, seconds
from gateway.compile.health import compile_health_check, compile_outlier_detection
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
from gateway.providers.published_prices import check_published
from gateway.providers.table import PROVIDERS
from gateway.types import Feature, Schema

_SCHEMAS = {
    service_pb2.SCHEMA_UNSPECIFIED: Schema.OPENAI,
    service_pb2.SCHEMA_OPENAI: Schema.OPENAI,
    service_pb2.SCHEMA_OPEN_INFERENCE: Schema.OPEN_INFERENCE,
    service_pb2.SCHEMA_PASSTHROUGH: Schema.PASSTHROUGH,
    service_pb2.SCHEMA_ANTHROPIC: Schema.ANTHROPIC,
    service_pb2.SCHEMA_GEMINI: Schema.GEMINI,
    service_pb2.SCHEMA_BEDROCK: Schema.BEDROCK,
    service_pb2.SCHEMA_COHERE: Schema.COHERE,
    service_pb2.SCHEMA_OLLAMA: Schema.OLLAMA,
}
_RETRY_ON = {
    service_pb2.RETRY_ON_CONNECT_FAILURE: Failure.CONNECT_FAILURE,
    service_pb2.RETRY_ON_RESET: Failure.RESET,
    service_pb2.RETRY_ON_GATEWAY_ERROR: Failure.GATEWAY_ERROR,
    service_pb2.RETRY_ON_TIMEOUT: Failure.TIMEOUT,
    service_pb2.RETRY_ON_SERVER_ERROR: Failure.SERVER_ERROR,
    service_pb2.RETRY_ON_RATE_LIMITED: Failure.RATE_LIMITED,
    service_pb2.RETRY_ON_OVERLOADED: Failure.OVERLOADED,
    service_pb2.RETRY_ON_CONTEXT_LENGTH: Failure.CONTEXT_LENGTH,
    service_pb2.RETRY_ON_CONTENT_FILTER: Failure.CONTENT_FILTER,
}
_FEATURES = {
    service_pb2.FEATURE_CHAT: Feature.CHAT,
    service_pb2.FEATURE_EMBEDDINGS: Feature.EMBEDDINGS,
    service_pb2.FEATURE_STREAMING: Feature.STREAMING,
    service_pb2.FEATURE_TOOLS: Feature.TOOLS,
    service_pb2.FEATURE_IMAGES: Feature.IMAGES,
    service_pb2.FEATURE_AUDIO: Feature.AUDIO,
    service_pb2.FEATURE_FILES: Feature.FILES,
    service_pb2.FEATURE_JSON_OBJECT: Feature.JSON_OBJECT,
    service_pb2.FEATURE_JSON_SCHEMA: Feature.JSON_SCHEMA,
    service_pb2.FEATURE_REASONING: Feature.REASONING,
    service_pb2.FEATURE_LOGPROBS: Feature.LOGPROBS,
    service_pb2.FEATURE_MULTIPLE_CHOICES: Feature.MULTIPLE_CHOICES,
}


def compile_service(message: service_pb2.Service) -> ServiceConfig:
    """The value of a message that `janua_resources.rules` found nothing wrong with.

    Raises `PricesNotInstalledError` for published prices that this node does not have.
    """
    if message.HasField("upstream_service"):
        upstream = message.upstream_service
        target: UpstreamTarget | ProviderTarget = UpstreamTarget(
            upstream=upstream.upstream, path_prefix=upstream.path_prefix
        )
        schema = _SCHEMAS[upstream.schema]
    else:
        proxy = message.proxy_service
        target = _provider_target(proxy)
        schema = _SCHEMAS[proxy.schema] if proxy.schema else PROVIDERS[target.provider].schema
    has_published_prices = message.price_list == service_pb2.PRICE_LIST_PUBLISHED
    if has_published_prices:
        check_published(PUBLISHED_PRICES[message.proxy_service.provider])
    names = {model.name: model.upstream_name for model in message.models if model.upstream_name}
    lacks = {model.name: _features(model.unsupported_features) for model in message.models}
    prices = {model.name: _price(model.price) for model in message.models if model.HasField("price")}
    return ServiceConfig(
        name=message.name,
        target=target,
        schema=schema,
        model_names=MappingProxyType(names),
        retry=compile_retry(message.retry_policy) if message.HasField("retry_policy") else None,
        timeouts=compile_timeouts(message.timeouts),
        drops_unsupported=message.unsupported_fields == service_pb2.UNSUPPORTED_FIELDS_DROP,
        policies=tuple(message.policies),
        lacks=_features(message.unsupported_features),
        models_lack=MappingProxyType({name: features for name, features in lacks.items() if features}),
        prices=MappingProxyType(prices),
        has_published_prices=has_published_prices,
    )


def _features(values: "Iterable[service_pb2.Feature.ValueType]") -> frozenset[Feature]:
    return frozenset(_FEATURES[value] for value in values)


def _price(message: service_pb2.ModelPrice) -> Price:
    """Kinds that are not given are None, or 0 where that is the default."""
    return Price(**{field.name: value for field, value in message.ListFields()})


def _provider_target(message: service_pb2.ProxyService) -> ProviderTarget:
    return ProviderTarget(
        provider=message.provider,
        base_url=str(base_address(message)),
        credentials=tuple(
            CredentialRef(secret=each.secret, weight=each.weight if each.HasField("weight") else 1)
            for each in message.credentials
        ),
        auth=_auth(message.auth) if message.HasField("auth") else None,
        region=region(message),
        project=message.project,
        api_version=message.api_version,
        egress_proxy=message.egress_proxy,
        headers=tuple(sorted((name.lower(), value) for name, value in message.headers.items())),
        health_checks=tuple(compile_health_check(check) for check in message.health_checks),
        outlier_detection=compile_outlier_detection(message.outlier_detection)
        if message.HasField("outlier_detection")
        else None,
    )


def _auth(message: service_pb2.ProviderAuth) -> AuthConfig:
    if message.HasField("query"):
        return QueryAuth(name=message.query.name)
    if message.HasField("aws_sigv4"):
        return AwsAuth(service=message.aws_sigv4.service)
    default = HeaderAuth()
    name = message.header.name.lower() or default.name
    return HeaderAuth(name=name, scheme=message.header.scheme or (default.scheme if name == default.name else ""))


def compile_retry(message: service_pb2.RetryPolicy) -> RetryConfig:
    """The value of a retry policy that is set."""
    default = RetryConfig()
    base = seconds(message.retry_back_off, "base_interval", default.base_interval_s)
    return RetryConfig(
        num_retries=message.num_retries if message.HasField("num_retries") else default.num_retries,
        retry_on=frozenset(_RETRY_ON[kind] for kind in message.retry_on) or default.retry_on,
        per_try_timeout_s=optional_seconds(message, "per_try_timeout"),
        base_interval_s=base,
        max_interval_s=seconds(message.retry_back_off, "max_interval", 10 * base),
        respect_retry_after=message.respect_retry_after if message.HasField("respect_retry_after") else True,
    )


def compile_timeouts(message: service_pb2.Timeouts) -> TimeoutsConfig:
    """The value of timeouts; of an unset message, one in which nothing is given."""
    return TimeoutsConfig(
        connect_s=optional_seconds(message, "connect"),
        request_s=optional_seconds(message, "request"),
        first_token_s=optional_seconds(message, "first_token"),
        stream_idle_s=optional_seconds(message, "stream_idle"),
    )
