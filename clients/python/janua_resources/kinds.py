"""The six kinds of resources: their names in every place that names a kind, and messages to and from envelopes."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeAlias

from google.protobuf.message import Message
from janua.config.v1.consumer_pb2 import Consumer
from janua.config.v1.policy_pb2 import Policy
from janua.config.v1.resource_pb2 import (
    KIND_CONSUMER,
    KIND_POLICY,
    KIND_ROUTE,
    KIND_SECRET,
    KIND_SERVICE,
    KIND_UPSTREAM,
    Kind,
    Resource,
    ResourceKey,
)
from janua.config.v1.route_pb2 import Route
from janua.config.v1.secret_pb2 import Secret
from janua.config.v1.service_pb2 import Service
from janua.config.v1.sync_state_pb2 import SyncState
from janua.config.v1.upstream_pb2 import Upstream

ConfigMessage: TypeAlias = Service | Upstream | Route | Policy | Consumer | Secret

# A resource's identity as a hashable value, for mappings of resources. `ResourceKey` is its form on the wire.
Key: TypeAlias = tuple[Kind.ValueType, str]

# A whole configuration.
World: TypeAlias = Mapping[Key, ConfigMessage]

_TYPE_URL_PREFIX: Final = "type.googleapis.com/"

SYNC_STATE_TYPE_URL: Final = _TYPE_URL_PREFIX + SyncState.DESCRIPTOR.full_name
SYNC_STATE_NAME: Final = "sync"


@dataclass(frozen=True, slots=True, kw_only=True)
class KindInfo:
    """One kind and its names.

    `name` is the message name (`Service`), `field` the field of `Resource` and the word of the command line
    (`service`), `plural` the key in files (`services`).
    """

    kind: Kind.ValueType
    name: str
    field: str
    plural: str
    message: type[ConfigMessage]
    type_url: str


def _info(kind: Kind.ValueType, message: type[ConfigMessage], plural: str) -> KindInfo:
    descriptor = message.DESCRIPTOR
    return KindInfo(
        kind=kind,
        name=descriptor.name,
        field=descriptor.name.lower(),
        plural=plural,
        message=message,
        type_url=_TYPE_URL_PREFIX + descriptor.full_name,
    )


# Make before break: what is named comes before what names it. Removals go in the reverse order.
KINDS: Final[tuple[KindInfo, ...]] = (
    _info(KIND_SECRET, Secret, "secrets"),
    _info(KIND_UPSTREAM, Upstream, "upstreams"),
    _info(KIND_POLICY, Policy, "policies"),
    _info(KIND_SERVICE, Service, "services"),
    _info(KIND_CONSUMER, Consumer, "consumers"),
    _info(KIND_ROUTE, Route, "routes"),
)

_BY_KIND: Final = MappingProxyType({info.kind: info for info in KINDS})
_BY_MESSAGE: Final = MappingProxyType({info.message: info for info in KINDS})
_BY_TYPE_URL: Final = MappingProxyType({info.type_url: info for info in KINDS})
_BY_WORD: Final = MappingProxyType({word: info for info in KINDS for word in (info.field, info.plural)})


def kind_info(kind: Kind.ValueType) -> KindInfo:
    """The names of `kind`. Raises ValueError for a number that is no kind."""
    info = _BY_KIND.get(kind)
    if info is None:
        raise ValueError(f"{kind} is not a kind of resource")
    return info


def kind_by_type_url(type_url: str) -> KindInfo | None:
    """The kind with this type URL, or None for a type that is not ours."""
    return _BY_TYPE_URL.get(type_url)


def kind_by_word(word: str) -> KindInfo | None:
    """The kind that a person means by `route`, `routes`, `Route` or `ROUTE`, or None."""
    return _BY_WORD.get(word.lower())


def kind_of(message: ConfigMessage) -> KindInfo:
    """The kind of a resource. Raises TypeError for any other message."""
    info = _BY_MESSAGE.get(type(message))
    if info is None:
        raise TypeError(f"{type(message).__name__} is not a kind of resource")
    return info


def key_of(message: ConfigMessage) -> ResourceKey:
    """What names the resource."""
    return ResourceKey(kind=kind_of(message).kind, name=message.name)


def wrap(message: ConfigMessage) -> Resource:
    """The resource in its envelope, as a copy."""
    resource = Resource()
    envelope_field: Message = getattr(resource, kind_of(message).field)
    envelope_field.CopyFrom(message)
    # Copying an empty message would leave the oneof unset.
    envelope_field.SetInParent()
    return resource


def unwrap(resource: Resource) -> ConfigMessage:
    """The resource within an envelope, not copied. Raises ValueError if the envelope is empty."""
    field = resource.WhichOneof("kind")
    if field is None:
        raise ValueError("the resource has no kind, or one that this version does not know")
    message: ConfigMessage = getattr(resource, field)
    return message
