"""A request body that aiohttp sends piece by piece."""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable

from aiohttp import Payload
from aiohttp.abc import AbstractStreamWriter


class StreamedBody(Payload):
    """Sends what an iterator gives, and keeps apart the iterator's own failure from one of the connection.

    `on_error` is called with the iterator's error as soon as it is raised.
    """

    def __init__(self, pieces: AsyncIterable[bytes]) -> None:
        super().__init__(pieces)
        self.error: Exception | None = None
        self.on_error: Callable[[Exception], None] | None = None
        self._pieces = pieces
        self._is_begun = False

    @property
    def consumed(self) -> bool:
        """Whether a piece has been asked for: then aiohttp must not send the request again by itself."""
        return self._is_begun

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Asked for by the base class; a body that comes in pieces is never held as a whole."""
        raise TypeError("the body is not held in memory")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Sends all pieces. The head goes first and alone: a backend may answer to the head, before any piece."""
        self._is_begun = True
        writer.send_headers()
        pieces = self._pieces.__aiter__()
        try:
            while (piece := await self._next(pieces)) is not None:
                await writer.write(piece)
        finally:
            if isinstance(pieces, AsyncGenerator):
                await pieces.aclose()

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Sends all pieces. The writer itself holds back what would be over the length."""
        await self.write(writer)

    async def _next(self, pieces: AsyncIterator[bytes]) -> bytes | None:
        try:
            return await anext(pieces, None)
        except Exception as error:
            self._failed(error)
            raise

    def _failed(self, error: Exception) -> None:
        self.error = error
        if self.on_error is not None:
            self.on_error(error)
