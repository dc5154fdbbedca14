"""The configuration for people to look at: all of it, but no credential."""

import json

from gateway.compile.config_dump import dump_resources
from tests.gateway.compile.resources import (
    empty_table,
    policy,
    proxy,
    put,
    resource,
    route,
    secret,
    service,
    upstream,
)

DIGEST = "0123456789abcdef" * 4


def test_empty_dump_names_every_kind() -> None:
    assert dump_resources(empty_table()) == {
        "secrets": [],
        "upstreams": [],
        "policies": [],
        "services": [],
        "consumers": [],
        "routes": [],
        "rejected": [],
    }


def test_dump_has_what_is_in_use_and_what_is_refused() -> None:
    table = empty_table()
    put(table, upstream("u"), service("v"), route("r", "v", ["p"]), policy("p", optional=True), upstream("bad", "no"))
    put(table, service("waits", "nowhere"))
    dump = dump_resources(table)
    assert dump["upstreams"] == [{"name": "u", "endpoints": [{"address": "127.0.0.1:1"}]}]
    assert dump["services"] == [{"name": "v", "upstream_service": {"upstream": "u"}}]
    assert dump["routes"][0]["policies"] == ["p"]
    assert dump["policies"] == [{"name": "p", "api_key_auth": {"optional": True}}]
    (rejected,) = dump["rejected"]
    assert (rejected["name"], rejected["reason"], rejected["field"]) == ("bad", "INVALID_FIELD", "endpoints[0].address")
    assert rejected["type_url"].endswith(".Upstream")
    assert json.loads(json.dumps(dump)) == dump


def test_dump_has_no_credential_and_no_whole_digest() -> None:
    table = empty_table()
    put(
        table,
        secret("s"),
        proxy("v"),
        resource("consumer", "c", api_keys=[{"key_sha256": DIGEST}, {"key_sha256": "f" * 64}]),
    )
    dump = dump_resources(table)
    assert dump["secrets"] == [{"name": "s", "env": "KEY"}]
    assert [key["key_sha256"] for key in dump["consumers"][0]["api_keys"]] == ["01234567…", "ffffffff…"]
    text = json.dumps(dump)
    assert "sk-1" not in text
    assert DIGEST not in text
    (kept,) = [message for message in table.messages() if message.name == "c"]
    assert DIGEST in str(kept), "the message in use is left as it is"
