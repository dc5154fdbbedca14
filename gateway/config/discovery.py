"""The messages of a discovery stream as values, and what makes a response unfit as a whole.

Source: the xDS protocol, "Incremental xDS".
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.config.resources import ReceivedResource, Rejection

MAX_MESSAGE_BYTES = 4096
TYPE_MISMATCH = "TYPE_MISMATCH"
DUPLICATE = "DUPLICATE"
UNDECODABLE = "UNDECODABLE"


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveryRequest:
    """A change of interest, an answer to a response, or both.

    A nonce without rejections accepts the response, with rejections it refuses it. Without a nonce it is spontaneous.
    """

    type_url: str
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    initial_versions: Mapping[str, str] = field(default_factory=dict)
    nonce: str = ""
    rejections: tuple[Rejection, ...] = ()


@dataclass(frozen=True, slots=True)
class SyncMark:
    """The end of an initial sync: the history it belongs to, and the revision that the node then has."""

    epoch: str
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveryResponse:
    """Changes of one type.

    A resource's own `type_url` is the one that its content carries. `undecodable` names those whose content is not of
    that type. `sync` is set if the response carries the mark of the sync's end.
    """

    type_url: str
    nonce: str
    revision: str = ""
    resources: tuple[ReceivedResource, ...] = ()
    removals: tuple[str, ...] = ()
    undecodable: tuple[Rejection, ...] = ()
    sync: SyncMark | None = None

    @property
    def names(self) -> frozenset[str]:
        """Every name that it speaks of."""
        return frozenset(self.removals).union(resource.name for resource in self.resources)


def structural_faults(response: DiscoveryResponse) -> list[Rejection]:
    """Why nothing of the response can be taken: content that is not of its type, or a name that stands in it twice."""
    return [*_mismatches(response), *_duplicates(response), *response.undecodable]


def _mismatches(response: DiscoveryResponse) -> Iterator[Rejection]:
    for resource in response.resources:
        if resource.type_url != response.type_url:
            yield Rejection(
                type_url=response.type_url,
                name=resource.name,
                version=resource.version,
                reason=TYPE_MISMATCH,
                message=f"the content is of type {resource.type_url!r}, the response of type {response.type_url!r}",
            )


def _duplicates(response: DiscoveryResponse) -> Iterator[Rejection]:
    versions = {resource.name: resource.version for resource in response.resources}
    times = Counter(response.removals)
    times.update(resource.name for resource in response.resources)
    for name, count in times.items():
        if count > 1:
            yield Rejection(
                type_url=response.type_url,
                name=name,
                version=versions.get(name, ""),
                reason=DUPLICATE,
                message=f"the name stands {count} times in one response",
            )


def error_message(rejections: Sequence[Rejection]) -> str:
    """All rejections in one line of at most `MAX_MESSAGE_BYTES` bytes."""
    count = len(rejections)
    head = f"{count} resource{'' if count == 1 else 's'} refused: "
    return one_line(head + "; ".join(str(rejection) for rejection in rejections))


def one_line(text: str) -> str:
    """The text without line breaks, cut at `MAX_MESSAGE_BYTES` bytes of UTF-8 between two characters."""
    line = " ".join(text.split()).encode("utf-8", "replace")
    if len(line) <= MAX_MESSAGE_BYTES:
        return line.decode()
    return line[: MAX_MESSAGE_BYTES - 3].decode("utf-8", "ignore") + "..."
