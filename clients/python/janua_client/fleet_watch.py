"""Following the nodes and a rollout over streams that may break: always the whole state, put together from its news."""

from collections.abc import AsyncGenerator, Callable
from typing import Protocol, TypeVar

from janua.config.v1.config_service_pb2 import (
    GetRolloutResponse,
    ListNodesResponse,
    Node,
    NodeRollout,
    WatchNodesResponse,
    WatchRolloutResponse,
)

from janua_client.errors import JanuaError
from janua_client.streams import LOST, Reconnecting, StreamCall, responses

Response = TypeVar("Response")
Response_contra = TypeVar("Response_contra", contravariant=True)
State = TypeVar("State")
State_co = TypeVar("State_co", covariant=True)


class Merger(Protocol[Response_contra, State_co]):
    """What one stream has told."""

    def take(self, response: Response_contra) -> State_co | None:
        """The whole state with the response taken in; None while a part of it is still to come."""


class RolloutMerger:
    """How far a revision has come on each node."""

    def __init__(self) -> None:
        self._revision = 0
        self._nodes: dict[str, NodeRollout] = {}

    def take(self, response: WatchRolloutResponse) -> GetRolloutResponse | None:
        """See `Merger`."""
        if response.revision != self._revision:
            self._revision = response.revision
            self._nodes.clear()
        self._nodes.update((node.node_id, node) for node in response.nodes)
        for node_id in response.removed_node_ids:
            self._nodes.pop(node_id, None)
        if not response.complete:
            return None
        nodes = [self._nodes[node_id] for node_id in sorted(self._nodes)]
        return GetRolloutResponse(revision=response.revision, nodes=nodes)


class NodesMerger:
    """All nodes. The revision is not told."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}

    def take(self, response: WatchNodesResponse) -> ListNodesResponse | None:
        """See `Merger`."""
        self._nodes.update((node.id, node) for node in response.nodes)
        for node_id in response.removed_node_ids:
            self._nodes.pop(node_id, None)
        if not response.complete:
            return None
        return ListNodesResponse(nodes=[self._nodes[node_id] for node_id in sorted(self._nodes)])


async def follow_states(
    open_stream: Callable[[], StreamCall[Response]],
    make_merger: Callable[[], Merger[Response, State]],
    reconnecting: Reconnecting,
) -> AsyncGenerator[State]:
    """Yields the state each time something is new, for ever. A stream that breaks is opened again.

    Raises `JanuaError` if the first stream cannot be opened, or for a failure that a new stream would not mend.
    """
    waits = reconnecting.backoff.waits()
    opened = False
    while True:
        merger = make_merger()
        answered = False
        try:
            async for response in responses(open_stream()):
                opened, answered, waits = True, True, reconnecting.backoff.waits()
                if (state := merger.take(response)) is not None:
                    yield state
        except JanuaError as error:
            if not opened or not isinstance(error, LOST):
                raise
            if not answered:
                reconnecting.on_lost(error)
        await reconnecting.sleep(next(waits))
