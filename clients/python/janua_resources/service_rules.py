"""When a service makes sense: its provider or upstream, its models, headers and time limits."""

from collections.abc import Iterator, Sequence

from janua.config.v1.service_pb2 import (
    FEATURE_UNSPECIFIED,
    PRICE_LIST_PUBLISHED,
    Feature,
    ProxyService,
    Service,
)

from janua_resources.addresses import parse_base_path
from janua_resources.egress import base_address, provider_address
from janua_resources.field_paths import entry
from janua_resources.headers import CREDENTIALS, FRAMING, HOP_BY_HOP, is_header_name, is_header_value
from janua_resources.providers import PUBLISHED_PRICES
from janua_resources.quoting import quoted
from janua_resources.retry_rules import check_retries
from janua_resources.upstream_rules import check_health_checks, check_outlier_detection
from janua_resources.violations import DUPLICATE, Problem, problem_of_parsing


def check_service(service: Service) -> Iterator[Problem]:
    """What is wrong with the meaning of a service."""
    if service.HasField("upstream_service"):
        prefix = service.upstream_service.path_prefix
        yield from problem_of_parsing(parse_base_path, prefix, "upstream_service.path_prefix")
    elif service.HasField("proxy_service"):
        yield from _check_base_url(service.proxy_service)
        yield from _check_headers(service.proxy_service)
        yield from _check_watching(service.proxy_service)
    yield from _check_models(service)
    yield from _check_features(service.unsupported_features, "unsupported_features")
    yield from _check_price_list(service)
    yield from check_retries(service.retry_policy, service.timeouts)


def _check_base_url(proxy: ProxyService) -> Iterator[Problem]:
    try:
        provider_address(proxy.provider)
    except ValueError as error:
        yield Problem(field="proxy_service.provider", message=str(error))
        if not proxy.base_url:
            return
    try:
        base_address(proxy)
    except ValueError as error:
        yield Problem(field="proxy_service.base_url", message=str(error))


def _check_headers(proxy: ProxyService) -> Iterator[Problem]:
    spellings: dict[str, str] = {}
    for name, value in sorted(proxy.headers.items()):
        field = entry("proxy_service.headers", name)
        problem = _header_problem(name, value)
        if problem is not None:
            yield Problem(field=field, message=problem)
        first = spellings.setdefault(name.lower(), name)
        if first != name:
            yield Problem(field=field, message=f"is the same header as {quoted(first)}", reason=DUPLICATE)


def _check_watching(proxy: ProxyService) -> Iterator[Problem]:
    yield from check_health_checks(proxy.health_checks, "proxy_service.health_checks")
    for index, check in enumerate(proxy.health_checks):
        if check.HasField("grpc"):
            text = "providers are reached over HTTP; use http or tcp"
            yield Problem(field=f"proxy_service.health_checks[{index}].grpc", message=text)
    yield from check_outlier_detection(proxy.outlier_detection, "proxy_service.outlier_detection")
    if proxy.outlier_detection.HasField("success_rate"):
        text = "compares endpoints, and a provider is a single one; leave it out"
        yield Problem(field="proxy_service.outlier_detection.success_rate", message=text)


def _header_problem(name: str, value: str) -> str | None:
    lower = name.lower()
    if not is_header_name(name):
        return f"{quoted(name)} is not a header name"
    if lower in CREDENTIALS:
        return "carries a credential; name a secret in proxy_service.credentials instead"
    if lower in HOP_BY_HOP or lower in FRAMING:
        return "belongs to the connection and cannot be set"
    # The value is not repeated: it may be a credential after all.
    return None if is_header_value(value) else "has a value with control characters"


def _check_price_list(service: Service) -> Iterator[Problem]:
    if service.price_list == PRICE_LIST_PUBLISHED and service.proxy_service.provider not in PUBLISHED_PRICES:
        known = ", ".join(sorted(PUBLISHED_PRICES))
        text = f"PUBLISHED has prices of a proxy_service of {known}; give models[].price instead"
        yield Problem(field="price_list", message=text)


def _check_models(service: Service) -> Iterator[Problem]:
    places: dict[str, int] = {}
    for index, model in enumerate(service.models):
        first = places.setdefault(model.name, index)
        if first != index:
            text = f"{quoted(model.name)} is the name of models[{first}] already"
            yield Problem(field=f"models[{index}].name", message=text, reason=DUPLICATE)
        for kind, dollars in model.price.ListFields():
            if dollars < 0:
                yield Problem(field=f"models[{index}].price.{kind.name}", message="is negative")
        yield from _check_features(model.unsupported_features, f"models[{index}].unsupported_features")


def _check_features(features: "Sequence[Feature.ValueType]", field: str) -> Iterator[Problem]:
    for index, feature in enumerate(features):
        if feature == FEATURE_UNSPECIFIED:
            yield Problem(field=f"{field}[{index}]", message="FEATURE_UNSPECIFIED is not a feature")
