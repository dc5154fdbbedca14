"""How far each resource of a type has come on one stream. Pure."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import Enum

from config_server.type_view import TypeView


class Stage(Enum):
    """Of one resource. `SETTLED`: answered; of a refusal the session knows."""

    NOT_SENT = "not sent"
    UNDER_WAY = "under way"
    SETTLED = "settled"


@dataclass(frozen=True, slots=True)
class ResourceStage:
    """`version` is that which is there now; None if there is no such resource."""

    name: str
    version: str | None
    stage: Stage


def stages_of(
    view: TypeView, names: Collection[str], *, unsent: Collection[str], under_way: Collection[str]
) -> Iterator[ResourceStage]:
    """In the order of the names."""
    for name in sorted(names):
        if name in unsent:
            stage = Stage.NOT_SENT
        else:
            stage = Stage.UNDER_WAY if name in under_way else Stage.SETTLED
        yield ResourceStage(name, view.version_of(name), stage)
