"""The configuration in use as JSON, for people. What identifies a caller is cut short: a dump gets around."""

from typing import Any

from google.protobuf import json_format
from janua.config.v1.consumer_pb2 import Consumer
from janua_resources.kinds import KINDS, kind_of
from janua_resources.secret_values import without_value

from gateway.compile.resource_table import ResourceTable

_SHOWN_DIGITS = 8


def dump_resources(table: ResourceTable) -> dict[str, Any]:
    """The resources by kind, and what is refused."""
    dump: dict[str, Any] = {info.plural: [] for info in KINDS}
    for message in table.messages():
        fields = json_format.MessageToDict(without_value(message), preserving_proto_field_name=True)
        if isinstance(message, Consumer):
            for key in fields.get("api_keys", ()):
                key["key_sha256"] = key["key_sha256"][:_SHOWN_DIGITS] + "…"
        dump[kind_of(message).plural].append(fields)
    dump["rejected"] = [
        {
            "type_url": rejection.type_url,
            "name": rejection.name,
            "version": rejection.version,
            "reason": rejection.reason,
            "field": rejection.field,
            "message": rejection.message,
        }
        for rejection in table.all_rejections
    ]
    return dump
