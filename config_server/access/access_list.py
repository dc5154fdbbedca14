"""The file that says who may call: a YAML list of principals. It holds digests of tokens, never tokens."""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final, TypeVar

import msgspec

from config_server.access.principal import Principal, Role, worker_of

_K = TypeVar("_K", str, bytes)

_NODE_ID: Final = re.compile(r"[^*\s]+\*?")
# Of a digest made while the variable with the token was not set.
_NO_TOKEN: Final = hashlib.sha256().hexdigest()
_HAVE_NODE_IDS: Final = (Role.NODE, Role.CLIENT)


class AccessError(Exception):
    """A file of principals cannot be used. The text is one line: where, what is wrong, what to do."""


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._@/-]*[A-Za-z0-9])?$", max_length=128)]
    role: Role
    token_sha256: Sequence[Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]] = ()
    certificates: Sequence[Annotated[str, msgspec.Meta(min_length=1)]] = ()
    node_ids: Sequence[str] = ()


class AccessList:
    """The principals, found by their credentials. Raises AccessError for two that cannot be told apart."""

    def __init__(self, principals: Iterable[Principal]) -> None:
        self.principals = tuple(principals)
        self.by_name = _index(self.principals, "name", lambda each: [each.name])
        self._by_token = _index(self.principals, "token", lambda each: each.token_digests)
        self._by_certificate = _index(self.principals, "certificate", lambda each: each.certificates)
        _check_workers(self.principals)

    @classmethod
    def parse(cls, text: str | bytes) -> "AccessList":
        """Reads the content of a file. Raises AccessError."""
        try:
            entries = msgspec.yaml.decode(text, type=Sequence[_Entry] | None)
        except msgspec.ValidationError as error:
            raise AccessError(str(error)) from None
        except msgspec.DecodeError as error:
            raise AccessError(f"is no YAML: {' '.join(str(error).split())}") from None
        if not entries:
            raise AccessError("names nobody: give at least one principal, see `janua access add`")
        return cls(_principal(index, entry) for index, entry in enumerate(entries))

    @classmethod
    def read(cls, path: Path) -> "AccessList":
        """Reads a file. Raises AccessError."""
        try:
            return cls.parse(path.read_bytes())
        except OSError as error:
            raise AccessError(f"access file {path}: {(error.strerror or 'unreadable').lower()}") from None
        except AccessError as error:
            raise AccessError(f"access file {path}: {error}") from None

    def find(self, token: str | None, certificate_names: Iterable[str]) -> Principal | None:
        """Whose credentials these are. A token that is given decides alone: a wrong one is never made up for."""
        if token is not None:
            return self._by_token.get(token_digest(token))
        for name in certificate_names:
            if (principal := self._by_certificate.get(name)) is not None:
                return principal
        return None


def token_digest(token: str) -> bytes:
    """What is kept of a token. Tokens are random: neither salt nor a slow hash would add anything."""
    return hashlib.sha256(token.encode()).digest()


def entry_text(principal: Principal) -> str:
    """A principal as an entry of the file, with the line end."""
    entry = _Entry(
        name=principal.name,
        role=principal.role,
        token_sha256=tuple(sorted(digest.hex() for digest in principal.token_digests)),
        certificates=tuple(sorted(principal.certificates)),
        node_ids=tuple(principal.node_ids),
    )
    return msgspec.yaml.encode([msgspec.to_builtins(entry)]).decode()


def _principal(index: int, entry: _Entry) -> Principal:
    if not entry.token_sha256 and not entry.certificates:
        raise AccessError(f"$[{index}]: {entry.name} has no credential: give token_sha256 or certificates")
    if entry.node_ids and entry.role not in _HAVE_NODE_IDS:
        raise AccessError(f"$[{index}].node_ids: {entry.name} is no node: only the roles node and client have them")
    if _NO_TOKEN in entry.token_sha256:
        raise AccessError(
            f"$[{index}].token_sha256: {entry.name} has the digest of an empty token, which anybody can show"
        )
    for node_id in entry.node_ids:
        if not _NODE_ID.fullmatch(node_id):
            raise AccessError(f"$[{index}].node_ids: {node_id!r} is no node id, nor the beginning of one and *")
    return Principal(
        name=entry.name,
        role=entry.role,
        token_digests=frozenset(map(bytes.fromhex, entry.token_sha256)),
        certificates=frozenset(entry.certificates),
        node_ids=tuple(entry.node_ids),
    )


def _check_workers(principals: Iterable[Principal]) -> None:
    """Raises AccessError where somebody might be another's node because of what that one is called."""
    ids = [(node_id, each) for each in principals if each.role in _HAVE_NODE_IDS for node_id in each.own_node_ids]
    owners: dict[str, list[Principal]] = {}
    for node_id, owner in ids:
        owners.setdefault(node_id, []).append(owner)
    for node_id, owner in ids:
        of = worker_of(node_id)
        for other in owners.get(of, ()) if of != node_id else ():
            if other is not owner:
                text = f"node {node_id} of {owner.name} has the id of a worker of {other.name}'s node {of}"
                raise AccessError(f"{text}: give one another id")


def _index(
    principals: Iterable[Principal], what: str, keys: Callable[[Principal], Iterable[_K]]
) -> Mapping[_K, Principal]:
    index: dict[_K, Principal] = {}
    for principal in principals:
        for key in keys(principal):
            if (other := index.setdefault(key, principal)) is not principal:
                if other.name == principal.name:
                    raise AccessError(f"{principal.name} stands there twice: give one entry all its credentials")
                raise AccessError(f"{other.name} and {principal.name} have the same {what}: each needs its own")
    return index
