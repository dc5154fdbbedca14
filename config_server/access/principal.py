"""Who calls the config server, and what their role lets them do. Knows no gRPC."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

_LONGEST_AUTHOR: Final = 256

# Of a gateway with several workers: one process is `edge-1-0`.
_WORKER: Final = re.compile(r"-[0-9]+\Z")


class Role(StrEnum):
    """What somebody may do. Each of the first three may do all that those after it may."""

    ADMIN = "admin"
    EDITOR = "editor"
    """Writes everything but secrets."""
    VIEWER = "viewer"
    """Reads everything but the values of secrets, which nobody reads."""
    NODE = "node"
    """A gateway: is sent the configuration, and says how it is."""
    CLIENT = "client"
    """Dials `xds:///janua`: is told which nodes there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Somebody with credentials: SHA-256 digests of bearer tokens, and names in client certificates.

    `node_ids`: those it may speak for, each an id or the beginning of one and `*`. None are given: its own name.
    """

    name: str
    role: Role
    token_digests: frozenset[bytes] = field(default=frozenset(), repr=False)
    certificates: frozenset[str] = frozenset()
    node_ids: Sequence[str] = ()

    @property
    def may_write_secrets(self) -> bool:
        return self.role is Role.ADMIN

    def may_be(self, node_id: str) -> bool:
        """Whether a node of this id may use these credentials; the workers of a node may use its own."""
        return any(_matches(pattern, node_id) for pattern in self.own_node_ids)

    @property
    def own_node_ids(self) -> Sequence[str]:
        return self.node_ids or (self.name,)

    def signature(self, claimed: str) -> str:
        """The author of a change that it makes: its name, and whom it says to do it for."""
        return f"{self.name} ({claimed})"[:_LONGEST_AUTHOR] if claimed not in ("", self.name) else self.name


def _matches(pattern: str, node_id: str) -> bool:
    if pattern.endswith("*"):
        return node_id.startswith(pattern[:-1])
    return pattern in (node_id, worker_of(node_id))


def worker_of(node_id: str) -> str:
    """The node whose worker such an id is that of; itself if it is none."""
    return _WORKER.sub("", node_id)
