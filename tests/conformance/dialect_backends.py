"""Backends of every dialect, down to the bytes: how each answers, fails and breaks off, and what each reads in a
request. They answer whole or streamed, as they are asked."""

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tests.conformance.configuration import Configuration
from tests.conformance.dialects import MODEL, UPSTREAM_MODEL, Json, Told
from tests.support.http_wire import LAST_CHUNK, ReceivedRequest, chunked_response, json_response
from tests.support.scripts import Exchange, Script, answer

SECRET = "sk-of-the-provider"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a backend is asked: see `Ask`. `said` is what the model is reminded of, `results` are (call's id or name,
    text), `files` are (name, media type, base64); pictures by their address stand among the others. With
    `wants_stop_sequence` it is to tell which sequence ended the answer; most tell that unasked."""

    model: str
    is_streaming: bool
    system: str = ""
    texts: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    sounds: tuple[str, ...] = ()
    files: tuple[tuple[str, str, str], ...] = ()
    file_urls: tuple[str, ...] = ()
    caches: bool = False
    tools: Mapping[str, Json] = field(default_factory=dict)
    choice: str = ""
    one_call: bool = False
    thinks: bool = False
    schema: Json | None = None
    is_json: bool = False
    logprobs: int | None = None
    said: Told = field(default_factory=Told)
    results: tuple[tuple[str, str], ...] = ()
    failed: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    wants_stop_sequence: bool = True


class Backend(Protocol):
    """A backend of one dialect. `path` is that of streams and of whole answers."""

    @property
    def name(self) -> str: ...

    @property
    def credential(self) -> tuple[str, str] | None:
        """The header with the operator's key."""

    @property
    def has(self) -> frozenset[str]:
        """What the dialect has of what not all have: rows of docs/conformance.md."""

    @property
    def own(self) -> frozenset[str]:
        """What it has beside that for clients of its own dialect."""

    def path(self, *, streamed: bool) -> str: ...

    def is_streaming(self, request: ReceivedRequest) -> bool: ...

    def service(self, address: str) -> Mapping[str, Any]:
        """What a service names as its target."""

    def whole(self, told: Told) -> Json:
        """A whole answer."""

    def pieces(self, told: Told) -> list[bytes]:
        """The pieces of a streamed answer, its end last."""

    def end_pieces(self) -> int:
        """How many pieces follow the content: a stream without them is cut off."""

    def error_body(self, kind: str, message: str) -> Json: ...

    def error_piece(self, message: str) -> bytes: ...

    def read(self, request: ReceivedRequest) -> Seen: ...

    @property
    def stream_type(self) -> str: ...


def answering(backend: Backend, told: Told) -> Script:
    """Says this."""

    async def script(exchange: Exchange) -> None:
        if backend.is_streaming(exchange.request):
            await exchange.send(_begun(backend))
            for piece in backend.pieces(told):
                await exchange.send(_chunk(piece))
            await exchange.send(LAST_CHUNK)
        else:
            await exchange.send(json_response(200, backend.whole(told)))

    return script


def waiting(backend: Backend, told: Told, gate: asyncio.Event) -> Script:
    """Says half of it, and the rest when the gate is open."""

    async def script(exchange: Exchange) -> None:
        pieces = backend.pieces(told)
        await exchange.send(_begun(backend) + b"".join(map(_chunk, pieces[: -backend.end_pieces() - 1])))
        await gate.wait()
        await exchange.send(b"".join(map(_chunk, pieces[-backend.end_pieces() - 1 :])) + LAST_CHUNK)

    return script


def failing(
    backend: Backend, status: int, message: str, *, kind: str = "", headers: Sequence[tuple[str, str]] = ()
) -> Script:
    """Refuses, in its dialect."""
    return answer(json_response(status, backend.error_body(kind, message), headers=headers))


def breaking(backend: Backend, told: Told, message: str) -> Script:
    """Begins a stream, and then has an error."""

    async def script(exchange: Exchange) -> None:
        await exchange.send(_begun(backend))
        for piece in [*backend.pieces(told)[: -backend.end_pieces()], backend.error_piece(message)]:
            await exchange.send(_chunk(piece))
        await exchange.send(LAST_CHUNK)

    return script


def stopping_short(backend: Backend, told: Told) -> Script:
    """Begins a stream and ends it in order, but before its end mark."""

    async def script(exchange: Exchange) -> None:
        await exchange.send(_begun(backend))
        for piece in backend.pieces(told)[: -backend.end_pieces()]:
            await exchange.send(_chunk(piece))
        await exchange.send(LAST_CHUNK)

    return script


def _begun(backend: Backend) -> bytes:
    return chunked_response([], content_type=backend.stream_type).removesuffix(LAST_CHUNK)


def _chunk(piece: bytes) -> bytes:
    return f"{len(piece):x}\r\n".encode() + piece + b"\r\n"


def configuration(backend: Backend, address: str, key: Path, **service: Any) -> Configuration:
    """All models from that backend, which has another name for one of them. `key` is the file with its credential."""
    return {
        "secrets": [{"name": "key", "file": str(key), "allowed_hosts": ["127.0.0.1"]}],
        "upstreams": [{"name": "pool", "endpoints": [{"address": address}]}],
        "services": [
            {
                "name": "llm",
                "models": [{"name": MODEL, "upstream_name": UPSTREAM_MODEL}],
                "retry_policy": {"num_retries": 0},
                **backend.service(address),
                **service,
            }
        ],
        "routes": [{"name": "chat", "match": {"models": ["*"]}, "backends": [{"service": "llm"}]}],
    }


def upstream_service(schema: str) -> Mapping[str, Any]:
    """Endpoints of one's own."""
    return {"upstream_service": {"upstream": "pool", "schema": schema}}


def provider_service(provider: str, address: str) -> Mapping[str, Any]:
    """A provider, at an address of the test."""
    credentials = [{"secret": "key"}]
    return {"proxy_service": {"provider": provider, "base_url": f"http://{address}", "credentials": credentials}}


def halves(text: str) -> list[str]:
    """A text in two pieces."""
    middle = len(text) // 2
    return [piece for piece in (text[:middle], text[middle:]) if piece]


def event(value: Json) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def pictures_of(urls: Iterable[str]) -> tuple[str, ...]:
    """Pictures, those inline without what stands before their data."""
    return tuple(url.removeprefix("data:image/png;base64,") for url in urls)


def parts_of(content: Any) -> Sequence[Json]:
    """What OpenAI and Anthropic write as a text or as parts, as parts."""
    parts: Sequence[Json] = [{"type": "text", "text": content}] if isinstance(content, str) else content
    return parts


def system_of(messages: Sequence[Json]) -> str:
    return "".join(text_of(each["content"]) for each in messages if each["role"] == "system")


def text_of(content: Any) -> str:
    return content if isinstance(content, str) else "".join(block["text"] for block in content)
