"""HTTP/1.1 as bytes, for fake servers that must be free to break the rules: requests read, answers written. Pure."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedRequest:
    """A request as it stood on the wire: header names in the case and order they were sent."""

    method: str
    target: str
    headers: Headers
    body: bytes

    def header(self, name: str) -> str | None:
        """Value of the first header of that name, in any case."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass(slots=True)
class RequestReader:
    """Cuts received bytes into requests; bytes of the next request stay for the next call."""

    _buffer: bytearray = field(default_factory=bytearray)

    def feed(self, data: bytes) -> None:
        """Takes more bytes from the connection."""
        self._buffer += data

    def next_request(self) -> ReceivedRequest | None:
        """The next whole request; None until all of it has come. Raises ValueError for what is not HTTP."""
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return None
        request_line, *lines = self._buffer[:head_end].decode("latin-1").split("\r\n")
        method, target, _version = request_line.split(" ")
        headers = tuple(_header(line) for line in lines)
        found = _body(self._buffer, head_end + 4, {name.lower(): value for name, value in headers})
        if found is None:
            return None
        body, end = found
        del self._buffer[:end]
        return ReceivedRequest(method=method, target=target, headers=headers, body=body)


def _header(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name, value.strip()


def _body(buffer: bytearray, start: int, headers: Mapping[str, str]) -> tuple[bytes, int] | None:
    """The body that begins at `start`, and where it ends; None while it is not all there."""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return _chunked_body(buffer, start)
    end = start + int(headers.get("content-length", "0"))
    return (bytes(buffer[start:end]), end) if len(buffer) >= end else None


def _chunked_body(buffer: bytearray, start: int) -> tuple[bytes, int] | None:
    body = bytearray()
    while (line_end := buffer.find(b"\r\n", start)) >= 0:
        size = int(buffer[start:line_end].split(b";")[0], 16)
        chunk = line_end + 2
        start = chunk + size + 2
        if len(buffer) < start:
            return None
        if size == 0:
            return bytes(body), start
        body += buffer[chunk : chunk + size]
    return None


def response(
    status: int = 200,
    body: bytes = b"",
    *,
    content_type: str = "application/json",
    headers: Sequence[tuple[str, str]] = (),
) -> bytes:
    """A whole answer with `content-length`."""
    return _head(status, [("content-type", content_type), ("content-length", str(len(body))), *headers]) + body


def json_response(status: int, value: object, *, headers: Sequence[tuple[str, str]] = ()) -> bytes:
    """A whole answer with a JSON body."""
    return response(status, json.dumps(value).encode(), headers=headers)


def chunked_response(
    pieces: Iterable[bytes],
    *,
    status: int = 200,
    content_type: str = "text/event-stream",
    headers: Sequence[tuple[str, str]] = (),
) -> bytes:
    """A whole answer with `transfer-encoding: chunked`, one chunk per piece."""
    head = _head(status, [("content-type", content_type), ("transfer-encoding", "chunked"), *headers])
    return head + b"".join(chunk(piece) for piece in pieces) + LAST_CHUNK


def chunk(piece: bytes) -> bytes:
    """One chunk of a chunked body."""
    return f"{len(piece):x}\r\n".encode() + piece + b"\r\n"


LAST_CHUNK = b"0\r\n\r\n"


def sse(*events: object, done: bool = True) -> list[bytes]:
    """Server-sent events as OpenAI writes them: each value as JSON after `data: `, then `[DONE]`."""
    pieces = [b"data: " + json.dumps(event).encode() + b"\n\n" for event in events]
    return [*pieces, b"data: [DONE]\n\n"] if done else pieces


def _head(status: int, headers: Iterable[tuple[str, str]]) -> bytes:
    phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else "Unknown"
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
