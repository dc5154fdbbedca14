"""Resources as they come over discovery, from messages written short."""

import hashlib
from collections.abc import Iterable

from google.protobuf.json_format import ParseDict
from janua_resources.kinds import KINDS, ConfigMessage, kind_by_word, kind_of

from gateway.compile.resource_table import ResourceTable
from gateway.compile.secret import SecretReader
from gateway.config.resources import ReceivedResource
from gateway.config.snapshot import ProviderTarget, Snapshot

ENVIRON = {"KEY": "sk-1", "OTHER": "sk-2", "EMPTY": ""}


def message(kind: str, name: str, **fields: object) -> ConfigMessage:
    """A resource such as `message("route", "r", backends=[{"service": "s"}])`."""
    info = kind_by_word(kind)
    assert info is not None
    return ParseDict({"name": name, **fields}, info.message())


def received(resource: ConfigMessage) -> ReceivedResource:
    """The resource on the wire; its version is its content."""
    value = resource.SerializeToString(deterministic=True)
    version = hashlib.sha256(value).hexdigest()[:8]
    return ReceivedResource(kind_of(resource).type_url, resource.name, version, value)


def resource(kind: str, name: str, **fields: object) -> ReceivedResource:
    """The same, on the wire."""
    return received(message(kind, name, **fields))


def upstream(name: str, address: str = "127.0.0.1:1") -> ReceivedResource:
    """A pool of one."""
    return resource("upstream", name, endpoints=[{"address": address}])


def service(name: str, upstream: str = "u") -> ReceivedResource:
    """A service before a pool."""
    return resource("service", name, upstream_service={"upstream": upstream})


def proxy(name: str, secret: str = "s", base_url: str = "") -> ReceivedResource:
    """A service before a provider."""
    spec = {"provider": "openai", "base_url": base_url, "credentials": [{"secret": secret}]}
    return resource("service", name, proxy_service=spec)


def secret(name: str, env: str = "KEY", allowed_hosts: Iterable[str] = ()) -> ReceivedResource:
    """A credential in the environment."""
    return resource("secret", name, env=env, allowed_hosts=list(allowed_hosts))


def policy(name: str, *, optional: bool = False) -> ReceivedResource:
    """A policy for API keys."""
    return resource("policy", name, api_key_auth={"optional": optional})


def route(name: str, service: str = "v", policies: Iterable[str] = (), **match: object) -> ReceivedResource:
    """A route to one service."""
    return resource("route", name, backends=[{"service": service}], policies=list(policies), match=match)


def empty_table() -> ResourceTable:
    """A table that reads secrets from `ENVIRON`."""
    return ResourceTable(SecretReader(environ=ENVIRON))


def put(table: ResourceTable, *resources: ReceivedResource) -> None:
    """Takes the resources one after another."""
    for each in resources:
        table.update(each.type_url, [each], ())


def remove(table: ResourceTable, *resources: ReceivedResource) -> None:
    """Removes resources of these names one after another."""
    for each in resources:
        table.update(each.type_url, (), [each.name])


def names(snapshot: Snapshot) -> dict[str, list[str]]:
    """What is in use, by kind; kinds of which there is nothing are left out."""
    kinds = {info.plural: sorted(getattr(snapshot, info.plural)) for info in KINDS}
    return {kind: found for kind, found in kinds.items() if found}


def unresolved(snapshot: Snapshot) -> list[str]:
    """References that lead nowhere."""
    found = []
    for each in snapshot.routes.values():
        found += [f"{each.name} -> {name}" for name in each.policies if name not in snapshot.policies]
        found += [f"{each.name} -> {to.service}" for to in each.backends if to.service not in snapshot.services]
    for service in snapshot.services.values():
        target = service.target
        if isinstance(target, ProviderTarget):
            named = [credential.secret for credential in target.credentials]
            found += [f"{service.name} -> {name}" for name in named if name not in snapshot.secrets]
        elif target.upstream not in snapshot.upstreams:
            found.append(f"{service.name} -> {target.upstream}")
    return found
