"""One discovery stream with its wire: what is read goes into the subscriptions, what they owe is written."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog
from google.protobuf.message import DecodeError
from google.rpc import code_pb2

from config_server.access.caller import denied, may_see_configuration
from config_server.ads_stream import AdsStream, TooManySubscriptionsError
from config_server.discovery_variant import ClientRequest, Variant
from config_server.errors import OTHER_EPOCH, ApiError
from config_server.metrics import Metrics
from config_server.node_record import NodeSession
from config_server.nodes import NodeRegistry
from config_server.snapshot_cache import SnapshotCache
from config_server.subscription import Delivery

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


class Wire(Protocol):
    """The two directions of a call. `read` gives bytes, or an end mark once the client has closed its own."""

    async def read(self) -> object: ...

    async def write(self, message: bytes) -> None: ...


async def read_request(wire: Wire, variant: Variant) -> ClientRequest | None:
    """The next request, None at the end. Raises ApiError for bytes that are none."""
    data = await wire.read()
    if not isinstance(data, bytes):
        return None
    try:
        return variant.read(data)
    except DecodeError:
        text = "the bytes sent are not a discovery request"
        raise ApiError(code_pb2.INVALID_ARGUMENT, "MALFORMED_REQUEST", text) from None


class DiscoveryConnection:
    """Serves one stream until the client closes it or the server drains.

    Reading never waits for writing: acknowledgements and new interest are taken in while a slow client is written to.
    """

    def __init__(
        self,
        *,
        variant: Variant,
        stream: AdsStream,
        session: NodeSession,
        cache: SnapshotCache,
        nodes: NodeRegistry,
        metrics: Metrics,
        push_delay_s: float,
    ) -> None:
        self.stream = stream
        self.session = session
        self._variant = variant
        self._cache = cache
        self._nodes = nodes
        self._metrics = metrics
        self._push_delay_s = push_delay_s
        self._push_timer: asyncio.TimerHandle | None = None
        self._is_push_due = False
        self._push_due_since = 0.0
        self._is_draining = False
        self._wake = asyncio.Event()

    def push(self) -> None:
        """Changes may be sent now."""
        self._push_timer = None
        if not self._is_push_due:
            self._push_due_since = time.monotonic()
        self._is_push_due = True
        self._wake.set()

    def drain(self) -> None:
        """The stream is to end soon."""
        self._is_draining = True
        self._wake.set()

    async def run(self, wire: Wire, drained: Callable[[], Awaitable[None]]) -> None:
        """Once the first request is taken in. Raises ApiError to end the stream with a status. `drained` waits for this
        stream's turn to end."""
        reader = asyncio.create_task(self._read(wire))
        reader.add_done_callback(lambda _: self._wake.set())
        try:
            while await self._woken() and not reader.done() and not self._is_draining:
                await self._write(wire)
            if reader.done():
                reader.result()
                # A client that has closed its side may still read: tools ask once, and close, and wait.
                return await self._write(wire)
            await drained()
            raise ApiError(code_pb2.UNAVAILABLE, "DRAINING", "the config server is going down: connect again")
        finally:
            if self._push_timer is not None:
                self._push_timer.cancel()
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _woken(self) -> bool:
        await self._wake.wait()
        self._wake.clear()
        return True

    async def _read(self, wire: Wire) -> None:
        while await self._has_read_one(wire):
            pass

    async def _has_read_one(self, wire: Wire) -> bool:
        """False at the end. By itself, so that a request, which may be large, is gone before the next is waited for."""
        message = await read_request(wire, self._variant)
        if message is None:
            return False
        self.take_in(message)
        return True

    async def _write(self, wire: Wire) -> None:
        has_sent = False
        while (response := self.stream.next_response(push=self._is_push_due)) is not None:
            has_sent = True
            self._metrics.pushed(response.type_url)
            self.session.sent(response.type_url, response.revision)
            self._nodes.changed(self.session.identity.node_id)
            await wire.write(response.data)
        if has_sent and self._is_push_due and not self.stream.has_unsent_changes:
            self._metrics.push_seconds.observe(time.monotonic() - self._push_due_since)
        self._schedule_push()
        if self.session.revision != self.stream.revision:
            self.session.looked_at(self.stream.revision, self.stream.settled_types())
            self._nodes.changed(self.session.identity.node_id)

    def _schedule_push(self) -> None:
        if not self.stream.has_unsent_changes:
            self._is_push_due = False
        elif not self._is_push_due and self._push_timer is None:
            # An answer came upon changes, or leaves removals to be pushed: nothing else may ever call for that.
            self._push_timer = asyncio.get_running_loop().call_later(self._push_delay_s, self.push)

    def take_in(self, message: ClientRequest) -> None:
        """Raises ApiError to end the stream with a status."""
        if not message.type_url:
            raise ApiError(code_pb2.INVALID_ARGUMENT, "TYPE_URL_MISSING", "a discovery request needs a type_url")
        if not may_see_configuration() and self._cache.view(message.type_url) is not None:
            raise denied("ROLE_NOT_SUFFICIENT", "the role client may ask which nodes there are, and nothing else")
        self._refuse_to_empty(message)
        try:
            delivery = self.stream.request(message.type_url, message.subscription)
        except TooManySubscriptionsError as error:
            raise ApiError(code_pb2.RESOURCE_EXHAUSTED, "TOO_MANY_SUBSCRIPTIONS", str(error)) from error
        if delivery is not None:
            self._answered(message, delivery)
        self.session.progress(message.type_url).not_asked_for(message.subscription.unsubscribe)
        if self.stream.is_settled(message.type_url):
            self.session.progress(message.type_url).nothing_to_send(self.stream.revision)
        self._nodes.heard(self.session.identity.node_id)
        if not self.stream.is_idle:
            self._wake.set()

    def _answered(self, message: ClientRequest, delivery: Delivery) -> None:
        self.session.answered(message.type_url, delivery, message.error)
        if message.error is not None:
            self._metrics.refused(message.type_url)
            _log.warning(
                "a node refuses configuration",
                node_id=self.session.identity.node_id,
                type_url=message.type_url,
                revision=delivery.revision,
                error=self.session.progress(message.type_url).error_message,
            )

    def _refuse_to_empty(self, message: ClientRequest) -> None:
        """A store that was never written to, or is not the one that a node has its configuration of, may be a lost one.

        Answering from it would tell a node to remove all that it serves. A node that holds nothing loses nothing: it
        is served, so that a first one can start before the first Apply.
        """
        holds_config = message.holds_resources and self._cache.view(message.type_url) is not None
        if not holds_config or self._cache.accepts_other_epochs:
            return
        if self._cache.revision == 0:
            reason, has = "STORE_EMPTY", "has no configuration yet"
        elif self.session.identity.epoch not in ("", self._cache.epoch):
            reason, has = OTHER_EPOCH, "has the configuration of another store"
        else:
            return
        node_id = self.session.identity.node_id
        self._nodes.refused(node_id)
        _log.warning("a node with the configuration of another store is not served", node_id=node_id, reason=reason)
        text = f"this config server {has}, and you hold one: restore its store, or apply with --accept-new-epoch"
        raise ApiError(code_pb2.UNAVAILABLE, reason, text)
