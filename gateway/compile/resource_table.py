"""The resources of a node: which are in use, which wait for others, which are refused. Synchronous, without I/O but
for reading secrets.

A resource comes into use once everything it names is in use; until then, and when it is refused, the version before
stays. A resource that is removed stays in use for as long as something in use names it. So the snapshot never has a
reference that does not resolve, whatever the order in which changes arrive; but for late ones, which are looked up in
the snapshot, and may find nothing.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, TypeAlias, cast

from google.protobuf.message import DecodeError
from janua.config.v1.policy_pb2 import Policy
from janua.config.v1.secret_pb2 import Secret
from janua.config.v1.service_pb2 import Service
from janua.config.v1.upstream_pb2 import Upstream
from janua_resources import egress, rules
from janua_resources.kinds import KINDS, ConfigMessage, KindInfo, kind_by_type_url
from janua_resources.policy_rules import misplaced
from janua_resources.references import references
from janua_resources.violations import INVALID_FIELD, SECRET_HOST_NOT_ALLOWED, UNRESOLVED_REFERENCE

from gateway.compile.consumer import compile_consumer
from gateway.compile.node_files import FileUnreadableError
from gateway.compile.policy import compile_policy
from gateway.compile.route import compile_route
from gateway.compile.secret import SecretReader
from gateway.compile.service import compile_service
from gateway.compile.upstream import compile_upstream
from gateway.config import resources as types
from gateway.config.resources import ReceivedResource, Rejection
from gateway.config.snapshot import (
    CacheConfig,
    ConsumerConfig,
    PolicyConfig,
    ProviderTarget,
    RouteConfig,
    SecretConfig,
    ServiceConfig,
    Snapshot,
)
from gateway.config.upstream import UpstreamConfig
from gateway.filters.key_set import BadKeySetError
from gateway.providers.accounts import foreign_issuer
from gateway.providers.keys import read_key
from gateway.providers.published_prices import PricesNotInstalledError
from gateway.transport.tls import client_context, split_certificate

Key: TypeAlias = tuple[str, str]
"""Type URL and name."""

Value: TypeAlias = UpstreamConfig | ServiceConfig | RouteConfig | PolicyConfig | ConsumerConfig | SecretConfig

_SECRET_USERS = (types.UPSTREAM, types.SERVICE)

SECRET_UNREADABLE = "SECRET_UNREADABLE"  # noqa: S105  # a reason, not a secret
FILE_UNREADABLE = "FILE_UNREADABLE"
UNDECODABLE = "UNDECODABLE"
PRICES_NOT_INSTALLED = "PRICES_NOT_INSTALLED"
SHARED_STORE_MISSING = "SHARED_STORE_MISSING"
CLIENT_CA_MISSING = "CLIENT_CA_MISSING"


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A resource that is valid in itself. `references` maps what it cannot be used without to the field naming it."""

    resource: ReceivedResource
    value: Value
    references: Mapping[Key, str]

    @property
    def key(self) -> Key:
        return self.resource.type_url, self.resource.name

    @property
    def message(self) -> ConfigMessage:
        """Read again each time: kept, it would be the greater part of what a resource takes of memory."""
        return _info(self.resource).message.FromString(self.resource.value)


class _RefusedError(Exception):
    def __init__(self, rejections: Sequence[Rejection]) -> None:
        super().__init__()
        self.rejections = tuple(rejections)


class ResourceTable:
    """Takes changes and tells what is in use."""

    def __init__(self, secrets: SecretReader, *, has_shared_store: bool = False, has_client_ca: bool = False) -> None:
        self._secrets = secrets
        self._has_shared_store = has_shared_store
        self._has_client_ca = has_client_ca
        self._compilers: Mapping[str, Callable[[Any], Value]] = {
            types.SECRET: secrets.compile,
            types.UPSTREAM: lambda message: compile_upstream(message, secrets.read_file),
            types.POLICY: compile_policy,
            types.SERVICE: compile_service,
            types.CONSUMER: compile_consumer,
            types.ROUTE: compile_route,
        }
        self._active: dict[str, dict[str, _Compiled]] = {info.type_url: {} for info in KINDS}
        self._published: dict[str, Mapping[str, Value]] = {}
        self._waiting: dict[str, dict[str, _Compiled]] = {info.type_url: {} for info in KINDS}
        self._leaving: set[Key] = set()
        self._users: Counter[Key] = Counter()
        self._rejections: dict[Key, tuple[ReceivedResource, tuple[Rejection, ...]]] = {}
        self._recovered: list[Key] = []
        self.generation = 0
        """Grows whenever what is in use changes."""

    def copy(self) -> "ResourceTable":
        """A table in the same state, on which changes can be tried."""
        twin = copy(self)
        twin._active = {type_url: dict(compiled) for type_url, compiled in self._active.items()}
        twin._published = dict(self._published)
        twin._waiting = {type_url: dict(compiled) for type_url, compiled in self._waiting.items()}
        twin._leaving = set(self._leaving)
        twin._users = Counter(self._users)
        twin._rejections = dict(self._rejections)
        twin._recovered = list(self._recovered)
        return twin

    def update(self, type_url: str, upserts: Iterable[ReceivedResource], removals: Iterable[str]) -> None:
        """Takes resources and removals of one type, and brings into use whatever can be now."""
        for _ in self.update_in_steps(type_url, upserts, removals):
            pass

    def update_in_steps(
        self, type_url: str, upserts: Iterable[ReceivedResource], removals: Iterable[str]
    ) -> Iterator[None]:
        """The same in small steps. The table is whole between them, and others may change it meanwhile."""
        for resource in upserts:
            self._take(resource)
            yield
        for name in removals:
            self._remove((type_url, name))
        yield from self._settle_in_steps()

    def _take(self, resource: ReceivedResource) -> None:
        key = (resource.type_url, resource.name)
        self._leaving.discard(key)
        self._rejections.pop(key, None)
        self._waiting[resource.type_url].pop(resource.name, None)
        active = self._active[resource.type_url].get(resource.name)
        if active is not None and active.resource.version == resource.version:
            return
        try:
            self._waiting[resource.type_url][resource.name] = self._compile(resource)
        except _RefusedError as refused:
            self._rejections[key] = (resource, refused.rejections)

    def _remove(self, key: Key) -> None:
        type_url, name = key
        self._rejections.pop(key, None)
        self._waiting[type_url].pop(name, None)
        if name in self._active[type_url]:
            self._leaving.add(key)

    def _compile(self, resource: ReceivedResource) -> _Compiled:
        message = _decode(resource, _info(resource))
        faults = [
            _rejection(resource, violation.reason, violation.message, violation.field)
            for violation in rules.check(message)
        ]
        if faults:
            raise _RefusedError(faults)
        try:
            value = self._compilers[resource.type_url](message)
        except FileUnreadableError as error:
            reason = SECRET_UNREADABLE if resource.type_url == types.SECRET else FILE_UNREADABLE
            raise _RefusedError([_rejection(resource, reason, str(error), error.field)]) from None
        except PricesNotInstalledError as error:
            raise _RefusedError([_rejection(resource, PRICES_NOT_INSTALLED, str(error), "price_list")]) from None
        except BadKeySetError as error:
            raise _RefusedError([_rejection(resource, INVALID_FIELD, str(error), "jwt_auth.jwks")]) from None
        if isinstance(value, PolicyConfig) and value.needs_shared_store and not self._has_shared_store:
            text = "is for all nodes together, and this node has no shared store: start it with --shared-store"
            field = "cache.store" if isinstance(value.spec, CacheConfig) else "rate_limit.scope"
            raise _RefusedError([_rejection(resource, SHARED_STORE_MISSING, text, field)])
        if isinstance(value, PolicyConfig) and value.needs_client_ca and not self._has_client_ca:
            text = "is for callers with certificates, and this node asks for none: start it with --tls-client-ca"
            raise _RefusedError([_rejection(resource, CLIENT_CA_MISSING, text, "mtls_auth")])
        named = {
            (reference.kind.type_url, reference.name): reference.field
            for reference in references(message)
            if not reference.is_late
        }
        return _Compiled(resource, value, named)

    def _settle(self) -> None:
        for _ in self._settle_in_steps():
            pass

    def _settle_in_steps(self) -> Iterator[None]:
        """Brings into use what waits and can be; lets go of what leaves and may. In the order in which each kind
        names only kinds before it, so that one pass is enough."""
        for type_url in (*(info.type_url for info in KINDS), types.SECRET):
            # Secrets once more: the version of a service that can use them may have come into use.
            for name, compiled in list(self._waiting[type_url].items()):
                if self._waiting[type_url].get(name) is compiled and self._missing(compiled) is None:
                    self._activate(compiled)
                yield
        for info in reversed(KINDS):
            for key in [key for key in self._leaving if key[0] == info.type_url and not self._users[key]]:
                if key in self._leaving and not self._users[key]:
                    self._leaving.discard(key)
                    self._take_out_of_use(key)
                yield

    def _missing(self, compiled: _Compiled) -> Key | None:
        for key in compiled.references:
            if key[1] not in self._active[key[0]]:
                return key
        return None

    def _activate(self, compiled: _Compiled) -> None:
        refused = (
            self._service_refusal(compiled)
            or self._secret_refusal(compiled)
            or self._tls_refusal(compiled)
            or self._policy_refusal(compiled)
        )
        if refused is not None:
            # It goes on waiting: the version of the secret, or of the service, that allows it may come after it.
            self._rejections[compiled.key] = (compiled.resource, (refused,))
            return
        del self._waiting[compiled.resource.type_url][compiled.resource.name]
        before = self._active[compiled.resource.type_url].get(compiled.resource.name)
        self._users.update(compiled.references.keys())
        self._put_in_use(compiled)
        if before is not None:
            self._release(before)
        if self._rejections.pop(compiled.key, None) is not None:
            self._recovered.append(compiled.key)

    def _put_in_use(self, compiled: _Compiled) -> None:
        type_url, name = compiled.key
        self._active[type_url][name] = compiled
        self._published.pop(type_url, None)
        self.generation += 1

    def _take_out_of_use(self, key: Key) -> None:
        type_url, name = key
        self._published.pop(type_url, None)
        self.generation += 1
        self._release(self._active[type_url].pop(name))

    def _service_refusal(self, compiled: _Compiled) -> Rejection | None:
        """Why a service may not be used with its secrets: they are not what its provider takes, or it would send them
        where they do not allow."""
        message = compiled.message if compiled.resource.type_url == types.SERVICE else None
        if not isinstance(message, Service):
            return None
        for type_url, name in compiled.references:
            if type_url != types.SECRET:
                continue
            secret = self._active[type_url][name]
            if (fault := _credential_fault(compiled, secret, self._secrets)) is not None:
                reason, text = fault
                return _rejection(
                    compiled.resource, reason, f"secret '{name}' {text}", compiled.references[type_url, name]
                )
            if not egress.is_allowed(cast("Secret", secret.message), message.proxy_service):
                host = egress.base_address(message.proxy_service).host
                text = f"secret '{name}' may not be sent to {host}; see its allowed_hosts"
                return _rejection(compiled.resource, SECRET_HOST_NOT_ALLOWED, text, "proxy_service.base_url")
        return None

    def _policy_refusal(self, compiled: _Compiled) -> Rejection | None:
        """Why a resource may not be used with its policies: one would have no effect there."""
        for (type_url, name), field in compiled.references.items():
            if type_url == types.POLICY:
                policy = cast("Policy", self._active[type_url][name].message)
                if (text := misplaced(policy, compiled.message)) is not None:
                    return _rejection(compiled.resource, INVALID_FIELD, text, field)
        return None

    def _secret_refusal(self, compiled: _Compiled) -> Rejection | None:
        """Why a secret may not stand for the version before: a service in use could not work with it."""
        if compiled.resource.type_url != types.SECRET or not self._users[compiled.key]:
            return None
        for service in self._active[types.SERVICE].values():
            if (
                compiled.key in service.references
                and (fault := _credential_fault(service, compiled, self._secrets)) is not None
            ):
                reason, text = fault
                text = f"service '{service.resource.name}' cannot use it: the secret {text}"
                source = cast("Secret", compiled.message).WhichOneof("source")
                return _rejection(compiled.resource, reason, text, source or "")
        return None

    def _tls_refusal(self, compiled: _Compiled) -> Rejection | None:
        """Why an upstream may not be used with its certificates."""
        upstream = compiled.value
        if not isinstance(upstream, UpstreamConfig) or upstream.tls is None:
            return None
        tls, field = upstream.tls, "tls.ca.file"
        try:
            client_context(tls)
            if tls.client_secret is not None:
                field = "tls.client_certificate.secret"
                secret = cast("SecretConfig", self._active[types.SECRET][tls.client_secret].value)
                split_certificate(secret.value.reveal())
                client_context(replace(tls, client_certificate=secret.value))
        except ValueError as error:
            return _rejection(compiled.resource, INVALID_FIELD, str(error), field)
        return None

    def _release(self, compiled: _Compiled) -> None:
        self._users.subtract(compiled.references.keys())
        for key in compiled.references:
            if not self._users[key]:
                del self._users[key]

    def waiting(self, type_url: str, names: Iterable[str]) -> list[str]:
        """Those of the names whose newest version waits for something it names, and is not refused yet."""
        waiting = self._waiting[type_url]
        return [name for name in names if name in waiting and (type_url, name) not in self._rejections]

    def refuse_waiting(self, type_url: str, names: Iterable[str]) -> None:
        """Records what has waited long enough as refused. It still comes into use when what it names arrives."""
        for name in self.waiting(type_url, names):
            compiled = self._waiting[type_url][name]
            missing = self._missing(compiled)
            if missing is not None:
                kind = kind_by_type_url(missing[0])
                text = f"{kind.field if kind else missing[0]} '{missing[1]}' is not held by this node"
                rejection = _rejection(compiled.resource, UNRESOLVED_REFERENCE, text, compiled.references[missing])
                self._rejections[compiled.key] = (compiled.resource, (rejection,))

    def rejections(self, type_url: str, names: Iterable[str]) -> list[Rejection]:
        """Why those of the names that are refused are."""
        return [
            rejection
            for name in names
            if (entry := self._rejections.get((type_url, name))) is not None
            for rejection in entry[1]
        ]

    @property
    def rejected_count(self) -> int:
        """How many resources are refused at present."""
        return len(self._rejections)

    @property
    def all_rejections(self) -> list[Rejection]:
        """Everything that is refused at present."""
        return [rejection for _, rejections in self._rejections.values() for rejection in rejections]

    def take_recovered(self) -> list[Key]:
        """What has come into use after it was refused, since the last call."""
        recovered, self._recovered = self._recovered, []
        return recovered

    def retry_secrets(self) -> list[Rejection]:
        """Reads all secrets and certificates again: files or the environment may have changed. Gives those in use that
        cannot be read any more; they stay as they are."""
        unreadable: list[Rejection] = []
        kinds = (types.SECRET, types.UPSTREAM)
        refused = [resource for (type_url, _), (resource, _) in self._rejections.items() if type_url in kinds]
        for compiled in [*self._active[types.SECRET].values(), *self._upstreams_with_files()]:
            try:
                fresh = self._compile(compiled.resource)
            except _RefusedError as error:
                unreadable += error.rejections
                continue
            if fresh.value != compiled.value:
                if (refused_value := self._secret_refusal(fresh)) is not None:
                    unreadable.append(refused_value)
                    continue
                self._put_in_use(fresh)
        for resource in refused:
            key = (resource.type_url, resource.name)
            before = self._rejections[key]
            self._take(resource)
            if key not in self._rejections:
                self._rejections[key] = before
        self._settle()
        return unreadable

    def _upstreams_with_files(self) -> list[_Compiled]:
        return [
            compiled
            for compiled in self._active[types.UPSTREAM].values()
            if isinstance(compiled.message, Upstream) and compiled.message.tls.HasField("ca")
        ]

    def names(self, type_url: str) -> set[str]:
        """The names of all that is in use, waits or is refused."""
        refused = {name for kind, name in self._rejections if kind == type_url}
        return self._active[type_url].keys() | self._waiting[type_url].keys() | refused

    def held_versions(self, type_url: str) -> dict[str, str]:
        """Name to version of what is in use and not on its way out."""
        return {
            name: compiled.resource.version
            for name, compiled in self._active[type_url].items()
            if (type_url, name) not in self._leaving
        }

    def resources(self) -> tuple[ReceivedResource, ...]:
        """What is in use and not on its way out, in the order in which each kind names only kinds before it."""
        in_use = chain.from_iterable(self._active[info.type_url].values() for info in KINDS)
        if not self._leaving:
            return tuple([compiled.resource for compiled in in_use])
        return tuple([compiled.resource for compiled in in_use if compiled.key not in self._leaving])

    def drop_unnamed_secrets(self) -> None:
        """Lets go of secrets that no service names any more. They are asked for by name: nobody sends their removal."""
        named = self.secret_names()
        known = {*self._active[types.SECRET], *(name for kind, name in self._rejections if kind == types.SECRET)}
        for name in known - named:
            self._remove((types.SECRET, name))
        self._settle()

    def secret_names(self) -> set[str]:
        """Secrets that something in use or waiting names."""
        users = (table[kind].values() for table in (self._active, self._waiting) for kind in _SECRET_USERS)
        return {
            name
            for compiled in chain.from_iterable(users)
            for type_url, name in compiled.references
            if type_url == types.SECRET
        }

    def snapshot(self) -> Snapshot:
        """Everything in use. A kind of which nothing has changed is the same mapping as in the snapshot before."""
        return Snapshot(
            upstreams=cast("Mapping[str, UpstreamConfig]", self._values_of(types.UPSTREAM)),
            services=cast("Mapping[str, ServiceConfig]", self._values_of(types.SERVICE)),
            routes=cast("Mapping[str, RouteConfig]", self._values_of(types.ROUTE)),
            policies=cast("Mapping[str, PolicyConfig]", self._values_of(types.POLICY)),
            consumers=cast("Mapping[str, ConsumerConfig]", self._values_of(types.CONSUMER)),
            secrets=cast("Mapping[str, SecretConfig]", self._values_of(types.SECRET)),
        )

    def _values_of(self, type_url: str) -> Mapping[str, Value]:
        published = self._published.get(type_url)
        if published is None:
            in_use = self._active[type_url].items()
            published = self._published[type_url] = {name: compiled.value for name, compiled in in_use}
        return published

    def messages(self) -> Iterable[ConfigMessage]:
        """The messages of everything in use, for people to look at."""
        return (compiled.message for info in KINDS for compiled in self._active[info.type_url].values())


def _credential_fault(service: _Compiled, secret: _Compiled, reader: SecretReader) -> tuple[str, str] | None:
    """Why a service cannot use a secret that it names: a reason, and words to follow the secret's name."""
    target = cast("ServiceConfig", service.value).target
    assert isinstance(target, ProviderTarget), "no other service names a secret"
    try:
        key = read_key(target, cast("SecretConfig", secret.value).value)
    except ValueError as error:
        return INVALID_FIELD, str(error)
    if (fault := reader.account_fault(key)) is not None:
        return SECRET_UNREADABLE, fault
    host = foreign_issuer(key)
    if host is None or egress.is_allowed_for_tokens(cast("Secret", secret.message), host):
        return None
    return SECRET_HOST_NOT_ALLOWED, f"may not be sent to {host}, where it says to get tokens; see its allowed_hosts"


def _info(resource: ReceivedResource) -> KindInfo:
    info = kind_by_type_url(resource.type_url)
    assert info is not None, "the subscriber asks for known types only"
    return info


def _decode(resource: ReceivedResource, info: KindInfo) -> ConfigMessage:
    try:
        message = info.message.FromString(resource.value)
    except DecodeError:
        raise _RefusedError([_rejection(resource, UNDECODABLE, f"not a {info.name} message")]) from None
    if message.name != resource.name:
        text = f"the {info.field} is named '{message.name}' but was sent as '{resource.name}'"
        raise _RefusedError([_rejection(resource, INVALID_FIELD, text, "name")])
    return message


def _rejection(resource: ReceivedResource, reason: str, message: str, field: str = "") -> Rejection:
    return Rejection(
        type_url=resource.type_url,
        name=resource.name,
        version=resource.version,
        reason=reason,
        field=field,
        message=message,
    )
