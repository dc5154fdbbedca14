"""How far one node has come with one resource type: what it was sent, what it accepted, what it refuses."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.message import DecodeError
from google.rpc import status_pb2
from janua.config.v1.config_service_pb2 import NodeType, Rejection

from config_server.subscription import Delivery

# What is kept of a node's own words with a refusal, in bytes of UTF-8, and of each text of a rejection.
ERROR_TEXT_BYTES: Final = 4096
REJECTION_TEXT_BYTES: Final = 1024
# A response names 500 resources at most; beyond that a refusal says nothing more.
MAX_REJECTIONS: Final = 500

# The reason of a rejection by a node that gave none.
UNEXPLAINED: Final = "REJECTED"


@dataclass(slots=True, kw_only=True)
class TypeProgress:
    """Revisions are those of responses. `settled_revision`: nothing up to it is still to be sent or answered."""

    type_url: str
    sent_revision: int = 0
    acked_revision: int = 0
    nacked_revision: int = 0
    settled_revision: int = 0
    rejections: Mapping[str, Rejection] = field(default_factory=dict)
    error_message: str = ""

    def sent(self, revision: int) -> None:
        self.sent_revision = revision

    def accepted(self, delivery: Delivery) -> None:
        self.error_message = ""
        self._replace_rejections(delivery, ())
        # A page that is not the last brings the node only part of the way.
        if delivery.is_complete:
            self.acked_revision = self.settled_revision = delivery.revision

    def refused(self, delivery: Delivery, error: status_pb2.Status) -> None:
        self.error_message = _limited(error.message, ERROR_TEXT_BYTES)
        self.nacked_revision = delivery.revision
        rejections = tuple(_explained(self.type_url, delivery, error)) or tuple(_all_of(self.type_url, delivery, error))
        self._replace_rejections(delivery, rejections)
        if delivery.is_complete:
            self.settled_revision = delivery.revision

    def not_asked_for(self, names: Collection[str]) -> None:
        """The node has taken names back. What it will not hear of any more it refuses no longer."""
        if self.rejections and names:
            self.rejections = {name: each for name, each in self.rejections.items() if name not in names}

    def nothing_to_send(self, revision: int) -> None:
        """The node has all there is of this type at `revision`."""
        if revision > max(self.sent_revision, self.settled_revision):
            self.acked_revision = self.settled_revision = revision

    def to_proto(self) -> NodeType:
        return NodeType(
            type_url=self.type_url,
            sent_revision=self.sent_revision,
            acked_revision=self.acked_revision,
            nacked_revision=self.nacked_revision,
            rejections=self.rejections.values(),
            error_message=self.error_message,
        )

    def _replace_rejections(self, delivery: Delivery, rejections: Sequence[Rejection]) -> None:
        if not self.rejections and not rejections:
            return
        mentioned = {resource.name for resource in delivery.page.resources} | set(delivery.page.removed)
        kept = {name: rejection for name, rejection in self.rejections.items() if name not in mentioned}
        self.rejections = kept | {rejection.name: rejection for rejection in rejections}


def progress_from_proto(kept: NodeType) -> TypeProgress:
    """The progress of a node that is not connected, as it was written down."""
    return TypeProgress(
        type_url=kept.type_url,
        sent_revision=kept.sent_revision,
        acked_revision=kept.acked_revision,
        nacked_revision=kept.nacked_revision,
        settled_revision=kept.acked_revision,
        rejections={rejection.name: rejection for rejection in kept.rejections},
        error_message=kept.error_message,
    )


def _limited(text: str, size: int = REJECTION_TEXT_BYTES) -> str:
    """At most `size` bytes of a node's text."""
    return text.encode()[:size].decode(errors="ignore")


def _explained(type_url: str, delivery: Delivery, error: status_pb2.Status) -> Iterator[Rejection]:
    """The rejections that the node packed into its error. Details of other kinds are none of ours."""
    versions = {resource.name: resource.version for resource in delivery.page.resources}
    for detail in error.details[:MAX_REJECTIONS]:
        rejection = Rejection()
        if not detail.Is(Rejection.DESCRIPTOR):
            continue
        try:
            detail.Unpack(rejection)
        except DecodeError:
            continue
        yield Rejection(
            type_url=rejection.type_url or type_url,
            name=_limited(rejection.name),
            version=_limited(rejection.version or versions.get(rejection.name, "")),
            reason=_limited(rejection.reason),
            field=_limited(rejection.field),
            message=_limited(rejection.message),
        )


def _all_of(type_url: str, delivery: Delivery, error: status_pb2.Status) -> Iterator[Rejection]:
    """A refusal that does not say of what is one of everything in the response."""
    text = _limited(error.message)
    for resource in delivery.page.resources:
        yield Rejection(
            type_url=type_url, name=resource.name, version=resource.version, reason=UNEXPLAINED, message=text
        )
    for name in delivery.page.removed:
        yield Rejection(type_url=type_url, name=name, reason=UNEXPLAINED, message=text)
