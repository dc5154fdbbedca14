"""Keeps up with what other servers write to the same store."""

import structlog

from config_server.errors import ApiError
from config_server.store.base import Peers, StoreError, StoreUnavailableError
from config_server.writer import Writer

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


class Follower:
    """Brings the cache up to the store whenever that has moved on. What the server writes itself it knows already."""

    def __init__(self, *, peers: Peers, writer: Writer) -> None:
        self._peers = peers
        self._writer = writer

    async def run(self) -> None:
        """Until cancelled. Raises HistoryLostError if the store is not the one that it was."""
        async for position in self._peers.positions():
            if self._writer.is_at(position):
                continue
            try:
                await self._writer.catch_up()
            except (StoreUnavailableError, StoreError, ApiError) as error:
                _log.warning("the store cannot be followed: tried again", error=str(error))
