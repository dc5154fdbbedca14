"""What nodes may see of one resource type, and how it has changed. Knows no gRPC."""

import bisect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from config_server.wire import EncodedResource


@dataclass(frozen=True, slots=True)
class Changed:
    """A name whose content is not what it was at some earlier revision. `held`: the version then, None if none."""

    name: str
    held: str | None


class TypeView:
    """What nodes may see of one resource type, and a log of how it changed.

    A stream that knows the revision it was last brought to needs to keep nothing else: `changes_since` tells the
    names that differ, each with the version that the stream was left with.
    """

    def __init__(self, type_url: str, revision: int = 0, resources: Iterable[EncodedResource] = ()) -> None:
        self.type_url = type_url
        self._revision = revision
        self._resources = {resource.name: resource for resource in resources}
        self._sorted_names: list[str] | None = None
        # Parallel lists, ascending by revision: what changed, and the version it had before.
        self._log_revisions: list[int] = []
        self._log: list[Changed] = []
        self._log_start = revision
        self._memo: dict[int, Sequence[Changed]] = {}
        self._memo_of_views: dict[TypeView, Sequence[Changed]] = {}

    @property
    def revision(self) -> int:
        return self._revision

    def get(self, name: str) -> EncodedResource | None:
        return self._resources.get(name)

    def version_of(self, name: str) -> str | None:
        resource = self._resources.get(name)
        return None if resource is None else resource.version

    def resources(self) -> Iterable[EncodedResource]:
        return self._resources.values()

    def names_after(self, cursor: str) -> Iterator[str]:
        """The names greater than `cursor`, ascending; "" is before all of them."""
        if self._sorted_names is None:
            self._sorted_names = sorted(self._resources)
        names = self._sorted_names
        return (names[index] for index in range(bisect.bisect_right(names, cursor), len(names)))

    def changes_since(self, revision: int) -> Sequence[Changed]:
        """The names that differ from what they were at `revision`. One that changed and changed back is not listed.

        Streams mostly ask from the same revision, so the answer is kept until the next change.
        """
        if revision < self._log_start:
            raise ValueError(f"the log of {self.type_url} begins at revision {self._log_start}, not {revision}")
        found = self._memo.get(revision)
        if found is None:
            found = self._memo[revision] = self._net_changes(revision)
        return found

    def changes_from(self, other: "TypeView") -> Sequence[Changed]:
        """The names that differ from what they are in another view of the type, for streams that come from there."""
        found = self._memo_of_views.get(other)
        if found is None:
            names = dict.fromkeys((*other._resources, *self._resources))
            found = self._memo_of_views[other] = tuple(
                Changed(name, held) for name in names if (held := other.version_of(name)) != self.version_of(name)
            )
        return found

    def _net_changes(self, revision: int) -> Sequence[Changed]:
        first: dict[str, Changed] = {}
        for index in range(bisect.bisect_right(self._log_revisions, revision), len(self._log)):
            first.setdefault(self._log[index].name, self._log[index])
        return tuple(changed for changed in first.values() if changed.held != self.version_of(changed.name))

    def advance(self, revision: int) -> None:
        """Moves on to a revision in which this type may have changed: `put` and `remove` follow."""
        self._revision = revision
        self._memo.clear()
        self._memo_of_views.clear()

    def put(self, resource: EncodedResource) -> None:
        held = self.version_of(resource.name)
        if held == resource.version:
            return
        if held is None:
            self._sorted_names = None
        self._resources[resource.name] = resource
        self._record(resource.name, held)

    def remove(self, name: str) -> None:
        resource = self._resources.pop(name, None)
        if resource is not None:
            self._sorted_names = None
            self._record(name, resource.version)

    def _record(self, name: str, held: str | None) -> None:
        self._log_revisions.append(self._revision)
        self._log.append(Changed(name, held))

    @property
    def log_length(self) -> int:
        return len(self._log)

    def trim(self, revision: int) -> None:
        """Forgets how the type changed up to `revision`: no stream will ask from before it."""
        end = bisect.bisect_right(self._log_revisions, revision)
        del self._log_revisions[:end]
        del self._log[:end]
        self._log_start = max(self._log_start, min(revision, self._revision))
