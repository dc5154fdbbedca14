"""Small valid resources, and batches of them."""

from collections.abc import Iterable

from janua.config.v1.config_service_pb2 import ApplyRequest, Change
from janua.config.v1.consumer_pb2 import ApiKey, Consumer
from janua.config.v1.policy_pb2 import ApiKeyAuth, Policy
from janua.config.v1.resource_pb2 import ResourceKey
from janua.config.v1.route_pb2 import Backend, Route, RouteMatch
from janua.config.v1.secret_pb2 import Secret
from janua.config.v1.service_pb2 import Credential, ProxyService, Service, UpstreamService
from janua.config.v1.upstream_pb2 import Endpoint, Upstream
from janua_resources.kinds import KINDS, ConfigMessage, kind_by_word, kind_of, wrap

TYPE = {info.field: info.type_url for info in KINDS}
SECRET, UPSTREAM, POLICY = TYPE["secret"], TYPE["upstream"], TYPE["policy"]
SERVICE, CONSUMER, ROUTE = TYPE["service"], TYPE["consumer"], TYPE["route"]


def upstream(name: str, *, port: int = 9001, description: str = "") -> Upstream:
    return Upstream(name=name, description=description, endpoints=[Endpoint(address=f"127.0.0.1:{port}")])


def service(name: str, *, upstream: str = "u", description: str = "") -> Service:
    return Service(name=name, description=description, upstream_service=UpstreamService(upstream=upstream))


def proxy_service(name: str, *, secret: str, description: str = "") -> Service:
    proxy = ProxyService(provider="openai", credentials=[Credential(secret=secret)])
    return Service(name=name, description=description, proxy_service=proxy)


def route(name: str, *, service: str = "s", description: str = "", policies: Iterable[str] = ()) -> Route:
    return Route(
        name=name,
        description=description,
        match=RouteMatch(models=[f"model-{name}"]),
        backends=[Backend(service=service)],
        policies=policies,
    )


def policy(name: str) -> Policy:
    return Policy(name=name, api_key_auth=ApiKeyAuth())


def consumer(name: str, *, description: str = "", keys: Iterable[str] = ()) -> Consumer:
    return Consumer(name=name, description=description, api_keys=[ApiKey(key_sha256=key) for key in keys])


def secret(name: str, *, env: str = "KEY") -> Secret:
    return Secret(name=name, env=env)


def upsert(message: ConfigMessage, *, etag: str = "", must_not_exist: bool = False) -> Change:
    return Change(upsert=wrap(message), etag=etag, must_not_exist=must_not_exist)


def delete(word: str, name: str, *, etag: str = "") -> Change:
    return Change(delete=key(word, name), etag=etag)


def key(word: str, name: str) -> ResourceKey:
    info = kind_by_word(word)
    assert info is not None
    return ResourceKey(kind=info.kind, name=name)


def delete_message(message: ConfigMessage) -> Change:
    return delete(kind_of(message).field, message.name)


def batch(*changes: ConfigMessage | Change) -> ApplyRequest:
    """Upserts of the messages, and the changes as they are."""
    return ApplyRequest(changes=[change if isinstance(change, Change) else upsert(change) for change in changes])
