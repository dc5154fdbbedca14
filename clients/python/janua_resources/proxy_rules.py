"""When a proxy service makes sense: its provider and where that is, its credentials, and its headers."""

import re
from collections.abc import Iterator
from typing import Final

from janua.config.v1.service_pb2 import ProxyService

from janua_resources.egress import base_address, provider_address
from janua_resources.egress_rules import check_egress_proxy
from janua_resources.field_paths import entry
from janua_resources.headers import CREDENTIALS, FRAMING, HOP_BY_HOP, is_header_name, is_header_value
from janua_resources.quoting import quoted
from janua_resources.upstream_rules import check_health_checks, check_outlier_detection
from janua_resources.violations import DUPLICATE, Problem

_CUSTOM: Final = "custom"
# They become part of a host name, a path, a query and a signature.
_REGION: Final = re.compile(r"[a-z][a-z0-9-]{0,62}")
_PROJECT: Final = re.compile(r"[a-z0-9][a-z0-9.:-]{0,127}")
_API_VERSION: Final = re.compile(r"[0-9a-z][0-9a-z-]{0,62}")
_WORD: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")


def check_proxy_service(proxy: ProxyService) -> Iterator[Problem]:
    """What is wrong with the meaning of a proxy service."""
    yield from _check_base_url(proxy)
    yield from _check_of_provider(proxy)
    yield from _check_auth(proxy)
    yield from _check_credentials(proxy)
    yield from _check_headers(proxy)
    yield from _check_watching(proxy)
    yield from check_egress_proxy(proxy.egress_proxy, "proxy_service.egress_proxy")


def _check_of_provider(proxy: ProxyService) -> Iterator[Problem]:
    """Fields that only some providers have."""
    signs = proxy.auth.HasField("aws_sigv4")
    yield from _only_for(proxy, "schema", _CUSTOM, is_set=bool(proxy.schema))
    yield from _only_for(proxy, "auth", _CUSTOM, is_set=proxy.HasField("auth"))
    yield from _only_for(proxy, "project", "vertex_ai", is_set=bool(proxy.project))
    yield from _only_for(proxy, "api_version", "azure_openai", is_set=bool(proxy.api_version))
    if not signs:
        yield from _only_for(proxy, "region", "bedrock", "vertex_ai", is_set=bool(proxy.region))
    for field, pattern, value in (
        ("region", _REGION, proxy.region),
        ("project", _PROJECT, proxy.project),
        ("api_version", _API_VERSION, proxy.api_version),
    ):
        if value and pattern.fullmatch(value) is None:
            yield Problem(field=f"proxy_service.{field}", message=f"{quoted(value)} is no {field.replace('_', ' ')}")
    if proxy.provider == "vertex_ai":
        for field, value in (("region", proxy.region), ("project", proxy.project)):
            if not value:
                text = "is required for provider 'vertex_ai': it is part of every path"
                yield Problem(field=f"proxy_service.{field}", message=text)
    if signs and not proxy.region:
        yield Problem(field="proxy_service.region", message="is required for signatures")


def _only_for(proxy: ProxyService, field: str, *providers: str, is_set: bool) -> Iterator[Problem]:
    if is_set and proxy.provider not in providers:
        text = f"is only for provider {' and '.join(providers)}, not for {quoted(proxy.provider)}"
        yield Problem(field=f"proxy_service.{field}", message=text)


def _check_auth(proxy: ProxyService) -> Iterator[Problem]:
    header, query, signature = proxy.auth.header, proxy.auth.query, proxy.auth.aws_sigv4
    if header.name:
        name = header.name.lower()
        if not is_header_name(name):
            yield Problem(field="proxy_service.auth.header.name", message=f"{quoted(name)} is not a header name")
        elif name in HOP_BY_HOP or name in FRAMING:
            text = "belongs to the connection and cannot be set"
            yield Problem(field="proxy_service.auth.header.name", message=text)
    if header.scheme and _WORD.fullmatch(header.scheme) is None:
        yield Problem(field="proxy_service.auth.header.scheme", message=f"{quoted(header.scheme)} is not a word")
    for field, is_set, value in (
        ("query.name", proxy.auth.HasField("query"), query.name),
        ("aws_sigv4.service", proxy.auth.HasField("aws_sigv4"), signature.service),
    ):
        if is_set and _WORD.fullmatch(value) is None:
            yield Problem(field=f"proxy_service.auth.{field}", message=f"{quoted(value)} is not a name")


def _check_credentials(proxy: ProxyService) -> Iterator[Problem]:
    places: dict[str, int] = {}
    for index, credential in enumerate(proxy.credentials):
        field = f"proxy_service.credentials[{index}]"
        first = places.setdefault(credential.secret, index)
        if first != index:
            text = f"names {quoted(credential.secret)}, as credentials[{first}] does already"
            yield Problem(field=field, message=text, reason=DUPLICATE)
        if credential.HasField("weight") and credential.weight == 0:
            yield Problem(field=f"{field}.weight", message="is 0: a key that is never used; leave it out")


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
        problem = _header_problem(name, value, proxy.auth.header.name.lower())
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


def _header_problem(name: str, value: str, key_header: str) -> str | None:
    lower = name.lower()
    if not is_header_name(name):
        return f"{quoted(name)} is not a header name"
    if lower in CREDENTIALS or lower == key_header:
        return "carries a credential; name a secret in proxy_service.credentials instead"
    if lower in HOP_BY_HOP or lower in FRAMING:
        return "belongs to the connection and cannot be set"
    # The value is not repeated: it may be a credential after all.
    return None if is_header_value(value) else "has a value with control characters"
