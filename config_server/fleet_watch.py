"""Following the nodes: first all of them, then each that changes, several changes of one joined into its last."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from google.rpc import code_pb2
from janua.config.v1 import config_service_pb2 as pb

from config_server.errors import ApiError
from config_server.history import History
from config_server.node_record import NodeRecord
from config_server.nodes import NodeRegistry
from config_server.revision_signal import RevisionSignal, SignalClosedError

# Told apart by its type: `M` of nodes, or of how far they have come.
M = TypeVar("M", pb.Node, pb.NodeRollout)

# Changes that come within this time are told together: of a thousand nodes that answer at once, in a few responses.
_JOINED_S: Final = 0.05
# Clients take messages of 4 MiB by default.
_PAGE_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page(Generic[M]):
    messages: Sequence[M]
    removed: Sequence[str] = ()
    is_last: bool


@dataclass(slots=True, kw_only=True)
class _Follower(Generic[M]):
    """What one watcher has been told of each node. `describe` gives None for nodes that it is not about."""

    nodes: NodeRegistry
    describe: Callable[[NodeRecord], M | None]
    seen: int = -1
    told: dict[str, bytes] = field(default_factory=dict)

    def pages(self) -> Iterator[_Page[M]]:
        """What is new since this was last asked; at first at least one page, later perhaps none."""
        is_first = self.seen < 0
        changed = self.nodes.changes.since(self.seen)
        self.seen = self.nodes.changes.number
        records = self.nodes.records() if is_first else map(self.nodes.record, sorted(changed))
        news = [message for record in records if record is not None and (message := self._news(record)) is not None]
        removed = [node_id for node_id in self.told if self.nodes.record(node_id) is None]
        for node_id in removed:
            del self.told[node_id]
        if news or removed or is_first:
            yield from _pages(news, removed)

    def _news(self, record: NodeRecord) -> M | None:
        message = self.describe(record)
        if message is None:
            return None
        # What a node says may be long: its digest is enough to see whether it says something else.
        digest = hashlib.blake2b(message.SerializeToString(), digest_size=16).digest()
        if self.told.get(record.node_id) == digest:
            return None
        self.told[record.node_id] = digest
        return message


def _pages(messages: Sequence[M], removed: Sequence[str]) -> Iterator[_Page[M]]:
    page: list[M] = []
    size = 0
    for message in messages:
        size += message.ByteSize() + 8
        if page and size > _PAGE_BYTES:
            yield _Page(messages=page, is_last=False)
            page, size = [], message.ByteSize() + 8
        page.append(message)
    yield _Page(messages=page, removed=removed, is_last=True)


class FleetWatcher:
    """Answers those who follow nodes and rollouts. Nothing is queued for them: each reads on at its own pace."""

    def __init__(
        self,
        *,
        nodes: NodeRegistry,
        history: History,
        signal: RevisionSignal,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._nodes = nodes
        self._history = history
        self._signal = signal
        self._sleep = sleep

    async def watch_nodes(self) -> AsyncIterator[pb.WatchNodesResponse]:
        """Never ends by itself. Raises ApiError when the server goes down."""
        follower = _Follower(nodes=self._nodes, describe=NodeRecord.to_proto)
        while True:
            for page in follower.pages():
                yield pb.WatchNodesResponse(nodes=page.messages, removed_node_ids=page.removed, complete=page.is_last)
            await self._news(follower.seen, self._signal.revision)

    async def watch_rollout(self, request: pb.WatchRolloutRequest) -> AsyncIterator[pb.WatchRolloutResponse]:
        """Never ends by itself. Raises ApiError, and RevisionCompactedError."""
        while True:
            rollout = await self._history.rollout(request.revision)
            follower = _Follower(nodes=self._nodes, describe=rollout.on)
            while request.revision or rollout.revision == self._signal.revision:
                for page in follower.pages():
                    yield pb.WatchRolloutResponse(
                        revision=rollout.revision,
                        nodes=page.messages,
                        removed_node_ids=page.removed,
                        complete=page.is_last,
                    )
                # A newer one may have come while the pages went out.
                await self._news(follower.seen, self._signal.revision if request.revision else rollout.revision)

    async def _news(self, seen: int, revision: int) -> None:
        """Waits until nodes have changed, or there is another revision, and a little more for what comes with it."""
        try:
            await _first_of(self._nodes.changes.beyond(seen), self._signal.beyond(revision))
        except SignalClosedError:
            text = "the config server is going down: connect again"
            raise ApiError(code_pb2.UNAVAILABLE, "DRAINING", text) from None
        await self._sleep(_JOINED_S)


async def _first_of(*waits: Awaitable[Any]) -> None:
    """Waits for the first of them, and raises what it raises."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
