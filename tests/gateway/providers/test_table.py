"""The provider table: every row can be used as it stands."""

from typing import Any

import pytest
from janua.config.v1 import service_pb2
from janua_resources.addresses import parse_url
from janua_resources.providers import PROVIDER_BASE_URLS, WITHOUT_EMBEDDINGS
from janua_resources.service_rules import has_embeddings

from gateway.config.credential import HeaderKey
from gateway.config.secret import SecretValue
from gateway.config.snapshot import ProviderTarget
from gateway.providers.keys import read_key
from gateway.providers.table import PROVIDERS
from gateway.schemas.table import SCHEMAS
from gateway.types import Schema

CREDENTIALS = {
    "azure_openai": ("api-key", "sk"),
    "anthropic": ("x-api-key", "sk"),
    "gemini": ("x-goog-api-key", "sk"),
}


def test_table_has_the_providers_that_resources_may_name() -> None:
    assert {name: provider.base_url for name, provider in PROVIDERS.items()} == dict(PROVIDER_BASE_URLS)


@pytest.mark.parametrize("name", PROVIDERS)
def test_row_is_usable(name: str) -> None:
    provider = PROVIDERS[name]
    assert provider.name == name
    assert SCHEMAS[provider.schema].chat or provider.schema is Schema.OPEN_INFERENCE
    assert provider.auth.name == provider.auth.name.lower()
    assert all(header == header.lower() for header in provider.strip_headers)
    key = read_key(ProviderTarget(provider=name, base_url="https://a"), SecretValue("sk"))
    assert isinstance(key, HeaderKey)
    assert (key.name, key.value.reveal()) == CREDENTIALS.get(name, ("authorization", "Bearer sk"))
    if provider.base_url is not None:
        address = parse_url(provider.base_url)
        assert address.scheme == "https" or address.is_loopback
        assert not provider.base_url.endswith(("/", "/v1")), "the request path begins with /v1"


def test_table_cannot_be_changed() -> None:
    table: Any = PROVIDERS
    with pytest.raises(TypeError):
        table["other"] = PROVIDERS["custom"]


def test_rules_know_who_has_no_embeddings() -> None:
    without = {name for name, each in PROVIDERS.items() if not (each.own_family or SCHEMAS[each.schema]).embeddings}
    assert without == WITHOUT_EMBEDDINGS
    asked = {
        name.removeprefix("SCHEMA_")
        for name, number in service_pb2.Schema.items()
        if number and has_embeddings(service_pb2.Service(upstream_service=service_pb2.UpstreamService(schema=number)))
    }
    assert asked == {schema.name for schema, family in SCHEMAS.items() if family.embeddings}
