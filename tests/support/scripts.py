"""What a faulty upstream can do to a request: ready-made scripts, and values in OpenAI's shapes to do it with."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Protocol

from tests.support.http_wire import ReceivedRequest, chunked_response, json_response, sse


class Exchange(Protocol):
    """One request and the connection it came on, as a script sees them."""

    @property
    def request(self) -> ReceivedRequest: ...

    async def send(self, data: bytes) -> None:
        """Writes bytes. Raises ConnectionError once the client has gone."""

    async def until_client_gone(self) -> None:
        """Waits until the client closes or breaks the connection; then raises ConnectionError."""

    def close(self) -> None:
        """Ends the connection in order (FIN) after what was sent."""

    def reset(self) -> None:
        """Breaks the connection (RST)."""


Script = Callable[[Exchange], Coroutine[None, None, None]]


def answer(data: bytes) -> Script:
    """Sends an answer and keeps the connection for the next request."""

    async def script(exchange: Exchange) -> None:
        await exchange.send(data)

    return script


def fail(status: int, message: str = "out of order", *, headers: Sequence[tuple[str, str]] = ()) -> Script:
    """Answers with an error in OpenAI's shape."""
    error = {"message": message, "type": "server_error", "code": None, "param": None}
    return answer(json_response(status, {"error": error}, headers=headers))


def cut(data: bytes, at: int) -> Script:
    """Sends the first `at` bytes and closes the connection in order."""

    async def script(exchange: Exchange) -> None:
        await exchange.send(data[:at])
        exchange.close()

    return script


def reset(data: bytes = b"", at: int = 0) -> Script:
    """Sends the first `at` bytes and breaks the connection."""

    async def script(exchange: Exchange) -> None:
        await exchange.send(data[:at])
        exchange.reset()

    return script


def stall(data: bytes = b"", at: int = 0) -> Script:
    """Sends the first `at` bytes, then nothing until the client gives up."""

    async def script(exchange: Exchange) -> None:
        await exchange.send(data[:at])
        await exchange.until_client_gone()

    return script


def stepped(pieces: Iterable[bytes], permits: asyncio.Semaphore) -> Script:
    """Sends each piece when the test releases the semaphore: slow, without a clock."""

    async def script(exchange: Exchange) -> None:
        for piece in pieces:
            await permits.acquire()
            await exchange.send(piece)

    return script


def huge(size: int, piece: bytes = b"x" * 65536) -> Script:
    """Answers 200 with a body of at least `size` bytes, without holding it in memory."""

    async def script(exchange: Exchange) -> None:
        pieces = -(-size // len(piece))
        await exchange.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
        await exchange.send(f"content-length: {pieces * len(piece)}\r\n\r\n".encode())
        for _ in range(pieces):
            await exchange.send(piece)

    return script


def chat(text: str = "hello there", *, headers: Sequence[tuple[str, str]] = ()) -> Script:
    """Answers a chat completion as a good server would: streamed word by word, or whole, as asked."""

    async def script(exchange: Exchange) -> None:
        asked = exchange.request.json()
        if asked.get("stream"):
            include_usage = (asked.get("stream_options") or {}).get("include_usage", False)
            events = chat_events(text, model=asked["model"], usage=include_usage)
            await exchange.send(chunked_response(sse(*events), headers=headers))
        else:
            await exchange.send(json_response(200, chat_completion(text, model=asked["model"]), headers=headers))

    return script


def chat_completion(text: str, *, model: str) -> dict[str, Any]:
    """A `chat.completion` in OpenAI's shape."""
    message = {"role": "assistant", "content": text}
    choices = [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}]
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": choices,
        "usage": _usage(text),
    }


def chat_events(text: str, *, model: str, usage: bool = False) -> list[dict[str, Any]]:
    """The events of a streamed answer in OpenAI's shape: role, one per word, finish, and usage if wanted."""
    envelope = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model}
    first, *others = text.split(" ")
    deltas: list[tuple[dict[str, str], str | None]] = [
        ({"role": "assistant", "content": ""}, None),
        ({"content": first}, None),
        *(({"content": f" {word}"}, None) for word in others),
        ({}, "stop"),
    ]
    events: list[dict[str, Any]] = [
        {**envelope, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]} for delta, finish in deltas
    ]
    return [*events, {**envelope, "choices": [], "usage": _usage(text)}] if usage else events


def _usage(text: str) -> dict[str, int]:
    tokens = len(text.split(" "))
    return {"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": tokens + 1}
