"""aiohttp's requests without what its sessions do beside: see docs/decisions/0007-aiohttp-mended.md."""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

import aiohttp
from aiohttp import hdrs
from aiohttp.connector import Connection
from aiohttp.http_writer import StreamWriter
from multidict import CIMultiDict

# What aiohttp would add of its own accord.
_NOT_ADDED: Final = CIMultiDict[None](
    (name, None) for name in (hdrs.USER_AGENT, hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE)
)


class Request(aiohttp.ClientRequest):
    """Has the headers that it is given, and besides them `host` and what tells the length of the body.

    A body of bytes is written together with the head, where aiohttp would start a task for it.
    """

    _whole: bytes | None = None

    def update_headers(self, headers: Any) -> None:
        """Takes the headers, `host` among them or not."""
        host = self.url.host_port_subcomponent
        assert host is not None, "aiohttp has refused a URL without a host"
        self.headers = CIMultiDict(((hdrs.HOST, host),))
        self.headers.extend(headers or ())
        if len(hosts := self.headers.getall(hdrs.HOST)) > 1:
            self.headers[hdrs.HOST] = hosts[-1]

    def update_auto_headers(self, skip_auto_headers: Iterable[str] | None) -> None:
        """Adds none."""
        self._skip_auto_headers = _NOT_ADDED

    def update_body_from_data(self, body: Any, _stacklevel: int = 3) -> None:
        """Takes the body."""
        if not isinstance(body, bytes):
            super().update_body_from_data(body, _stacklevel)
            return
        self._whole = body
        if hdrs.CONTENT_LENGTH not in self.headers:
            self.headers[hdrs.CONTENT_LENGTH] = str(len(body))

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """Writes the request, or begins to where it does not go out at once."""
        body, protocol = self._whole, conn.protocol
        assert protocol is not None, "the connection is open"
        if body is None:
            return await super().send(conn)
        if self._continue is not None or protocol.writing_paused:
            self._body = aiohttp.BytesPayload(body)
            return await super().send(conn)
        target = str(self.url) if self.proxy is not None and not self.is_ssl() else self.url.raw_path_qs
        writer = StreamWriter(protocol, self.loop)
        await writer.write_headers(f"{self.method} {target} HTTP/1.1", self.headers)
        await writer.write(body, drain=False)
        writing = None
        if protocol.writing_paused:
            # An answer may come before all of the body has gone out: then the connection is of no further use.
            writing = self._writer = asyncio.create_task(_flush(writer, conn))
        return self.response_class(
            self.method,
            self.original_url,
            writer=writing,
            continue100=None,
            timer=self._timer,
            request_info=self.request_info,
            traces=[],
            loop=self.loop,
            session=None,  # type: ignore[arg-type]  # aiohttp means to require one, but does not
            stream_writer=writer,
        )


async def _flush(writer: StreamWriter, conn: Connection) -> None:
    try:
        await writer.drain()
    except aiohttp.ClientError:
        conn.close()  # whoever waits for the answer learns it too
    except BaseException:
        conn.close()
        raise
