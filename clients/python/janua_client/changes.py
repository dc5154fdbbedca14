"""Changes to put into a batch: what `ConfigClient.apply` takes."""

from janua.config.v1.config_service_pb2 import Change
from janua.config.v1.resource_pb2 import Kind, ResourceKey
from janua_resources.kinds import ConfigMessage, wrap


def upsert(message: ConfigMessage, *, etag: str = "", must_not_exist: bool = False) -> Change:
    """Creates the resource, or replaces it whole.

    With `etag` only if it is still in the state that had this etag; with `must_not_exist` only if there is none.
    """
    return Change(upsert=wrap(message), etag=etag, must_not_exist=must_not_exist)


def deletion(kind: Kind.ValueType, name: str, *, etag: str = "") -> Change:
    """Deletes the resource; with `etag` only if it is still in the state that had this etag."""
    return Change(delete=ResourceKey(kind=kind, name=name), etag=etag)
