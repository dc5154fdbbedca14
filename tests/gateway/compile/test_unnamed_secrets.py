"""A credential leaves the node's memory with the last service that names it."""

from google.protobuf import json_format
from janua_resources.kinds import ConfigMessage, kind_by_word, kind_of

from gateway.compile.node_config import ConfigListener, NodeConfig
from gateway.compile.resource_table import ResourceTable
from gateway.compile.secret import SecretReader
from gateway.config.resources import SECRET, SERVICE, ReceivedResource


def _received(message: ConfigMessage, version: str = "1") -> ReceivedResource:
    return ReceivedResource(kind_of(message).type_url, message.name, version, message.SerializeToString())


def _message(word: str, fields: dict[str, object]) -> ConfigMessage:
    info = kind_by_word(word)
    assert info is not None
    return json_format.ParseDict(fields, info.message())


async def test_a_secret_goes_with_its_last_service() -> None:
    listener = ConfigListener(
        prepare=lambda _: (),
        on_snapshot=lambda snapshot: None,
        on_secret_names=lambda: None,
        on_recovered=lambda type_url, names: None,
    )
    table = ResourceTable(SecretReader(environ={"KEY": "k"}))
    config = NodeConfig(table, listener, reference_timeout_s=0.01)
    proxy = {"provider": "openai", "credentials": [{"secret": "key"}]}
    service = _message("service", {"name": "openai", "proxy_service": proxy})

    await config.update(SERVICE, "1", [_received(service)], [])
    await config.update(SECRET, "1", [_received(_message("secret", {"name": "key", "env": "KEY"}))], [])
    assert table.snapshot().secrets["key"].value.reveal() == "k"
    assert "openai" in table.snapshot().services

    await config.update(SERVICE, "2", [], ["openai"])
    assert table.snapshot().secrets == {}
    assert config.held_versions(SECRET) == {}


async def test_a_refused_secret_that_no_service_names_any_more_is_forgotten() -> None:
    listener = ConfigListener(
        prepare=lambda _: (),
        on_snapshot=lambda snapshot: None,
        on_secret_names=lambda: None,
        on_recovered=lambda type_url, names: None,
    )
    table = ResourceTable(SecretReader(environ={}))
    config = NodeConfig(table, listener, reference_timeout_s=0.01)
    proxy = {"provider": "openai", "credentials": [{"secret": "key"}]}
    await config.update(SERVICE, "1", [_received(_message("service", {"name": "openai", "proxy_service": proxy}))], [])
    await config.update(SECRET, "1", [_received(_message("secret", {"name": "key", "env": "KEY"}))], [])
    assert [rejection.name for rejection in table.all_rejections] == ["openai", "key"]

    await config.update(SERVICE, "2", [], ["openai"])
    assert table.rejected_count == 0
