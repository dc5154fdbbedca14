"""When a service makes sense: its upstream or provider, its models and time limits."""

from collections.abc import Iterator, Sequence
from typing import Final

from janua.config.v1.service_pb2 import (
    FEATURE_EMBEDDINGS,
    FEATURE_UNSPECIFIED,
    PRICE_LIST_PUBLISHED,
    SCHEMA_ANTHROPIC,
    SCHEMA_OPEN_INFERENCE,
    Feature,
    Service,
)

from janua_resources.addresses import parse_base_path
from janua_resources.providers import PUBLISHED_PRICES, WITHOUT_EMBEDDINGS
from janua_resources.proxy_rules import check_proxy_service
from janua_resources.quoting import quoted
from janua_resources.retry_rules import check_retries
from janua_resources.violations import DUPLICATE, Problem, problem_of_parsing

_SCHEMAS_WITHOUT_EMBEDDINGS: Final = frozenset({SCHEMA_ANTHROPIC, SCHEMA_OPEN_INFERENCE})


def has_embeddings(service: Service) -> bool:
    """Whether nodes can ask the service for vectors, as far as its configuration says."""
    if service.HasField("upstream_service"):
        schema = service.upstream_service.schema
    else:
        schema = service.proxy_service.schema
        if service.proxy_service.provider in WITHOUT_EMBEDDINGS:
            return False
    return schema not in _SCHEMAS_WITHOUT_EMBEDDINGS and FEATURE_EMBEDDINGS not in service.unsupported_features


def check_service(service: Service) -> Iterator[Problem]:
    """What is wrong with the meaning of a service."""
    if service.HasField("upstream_service"):
        prefix = service.upstream_service.path_prefix
        yield from problem_of_parsing(parse_base_path, prefix, "upstream_service.path_prefix")
    elif service.HasField("proxy_service"):
        yield from check_proxy_service(service.proxy_service)
    yield from _check_models(service)
    yield from _check_features(service.unsupported_features, "unsupported_features")
    yield from _check_price_list(service)
    yield from check_retries(service.retry_policy, service.timeouts)


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
