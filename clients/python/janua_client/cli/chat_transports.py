"""The two ways to a model through a gateway, HTTP and gRPC, as one: a conversation goes in, pieces of text come out."""

import asyncio
import codecs
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Final, Literal, Protocol, Self

import aiohttp
from janua.inference.v1.chat_pb2 import ChatCompletionRequest

from janua_client.cli.failures import CommandError, one_line
from janua_client.errors import (
    JanuaError,
    NotFoundError,
    PermissionDeniedError,
    UnauthenticatedError,
    UnavailableError,
)
from janua_client.inference_client import InferenceClient
from janua_client.messages import assistant, system, user
from janua_client.tls import Tls

_KEY_ADVICE = "give a key with --api-key or JANUA_API_KEY"
_ROUTE_ADVICE = "`janua explain --model MODEL` says why"

# How long the end of a body may stay away once the answer is complete.
_END_S: Final = 1.0

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side said."""

    role: Role
    text: str


class ChatTransport(Protocol):
    """An open way to a model. An async context manager."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def answer(
        self, model: str, turns: Sequence[Turn], on_headers: Callable[[Mapping[str, str]], None]
    ) -> AsyncGenerator[str]:
        """Yields the answer as it is written. Raises `CommandError`, also for an answer that was cut off."""
        ...


class HttpChat:
    """OpenAI's API at `url`, without `/v1`."""

    def __init__(self, url: str, api_key: str, tls: Tls | None = None) -> None:
        self._url = url.rstrip("/")
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=True if tls is None else tls.ssl_context()),
            headers={"authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=600),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def answer(
        self, model: str, turns: Sequence[Turn], on_headers: Callable[[Mapping[str, str]], None]
    ) -> AsyncGenerator[str]:
        body = {
            "model": model,
            "messages": [{"role": turn.role, "content": turn.text} for turn in turns],
            "stream": True,
        }
        try:
            async with self._session.post(f"{self._url}/v1/chat/completions", json=body) as response:
                on_headers({name.lower(): value for name, value in response.headers.items()})
                if response.status != HTTPStatus.OK:
                    raise _http_error(response.status, await response.text())
                async with aclosing(_texts(response.content.iter_any())) as texts:
                    async for text in texts:
                        yield text
        except aiohttp.InvalidURL as error:
            raise CommandError(f"{self._url!r} is not a URL: --url wants http://HOST:PORT") from error
        except aiohttp.ClientPayloadError as error:
            raise _cut_off() from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _unreachable(self._url, str(error) or type(error).__name__) from error


def _http_error(status: int, body: str) -> CommandError:
    try:
        message = str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = body[:200]
    advice = {
        HTTPStatus.UNAUTHORIZED: _KEY_ADVICE,
        HTTPStatus.FORBIDDEN: _KEY_ADVICE,
        HTTPStatus.NOT_FOUND: _ROUTE_ADVICE,
    }
    said = f"the gateway answered {status}: {one_line(message)}"
    return CommandError(f"{said}; {advice[HTTPStatus(status)]}" if status in advice else said)


def _unreachable(where: str, cause: str) -> CommandError:
    advice = "start one with `janua up`, or name another with --url, or --address for gRPC"
    return CommandError(f"cannot reach the gateway at {where} ({one_line(cause)}): {advice}")


def _cut_off() -> CommandError:
    return CommandError("the answer was cut off: the connection ended before it did")


async def _texts(chunks: AsyncIterator[bytes]) -> AsyncGenerator[str]:
    """The text within OpenAI's stream of server-sent events."""
    async for data in sse_data(chunks):
        if data == "[DONE]":
            await _read_to_end(chunks)
            return
        if text := _text(data):
            yield text
    raise _cut_off()


async def _read_to_end(chunks: AsyncIterator[bytes]) -> None:
    """Nothing comes after the answer but the end. Before that, a connection cannot be used for the next turn, and with
    TLS it takes its time to close."""
    with suppress(aiohttp.ClientError, TimeoutError):
        async with asyncio.timeout(_END_S):
            async for _ in chunks:
                pass


def _text(data: str) -> str:
    """The text of the first alternative in one event."""
    try:
        event = json.loads(data)
        if "error" in event:
            message = event["error"].get("message", event["error"])
            raise CommandError(f"the answer broke off: {one_line(str(message))}")
        texts = (choice["delta"].get("content") for choice in event["choices"] if not choice.get("index"))
        return "".join(text for text in texts if text)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = "it is not OpenAI's stream of JSON events"
        raise CommandError(f"the gateway's answer is not understood: {what}") from error


async def sse_data(chunks: AsyncIterator[bytes]) -> AsyncGenerator[str]:
    """The data of server-sent events, however the bytes are cut (WHATWG HTML, 9.2.6)."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    rest = ""
    data: list[str] = []
    async for chunk in chunks:
        *lines, rest = (rest + decoder.decode(chunk)).split("\n")
        for line in lines:
            name, _, value = line.removesuffix("\r").partition(":")
            if name == "data":
                data.append(value.removeprefix(" "))
            elif not name and not value and data:
                yield "\n".join(data)
                data.clear()


class GrpcChat:
    """`janua.inference.v1` at `host:port`."""

    def __init__(self, address: str, api_key: str, tls: Tls | None = None) -> None:
        self._address = address
        self._client = InferenceClient(address, api_key=api_key, tls=tls)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    async def answer(
        self, model: str, turns: Sequence[Turn], on_headers: Callable[[Mapping[str, str]], None]
    ) -> AsyncGenerator[str]:
        makers = {"system": system, "user": user, "assistant": assistant}
        messages = [makers[turn.role](turn.text) for turn in turns]
        try:
            async with self._client.stream_chat(ChatCompletionRequest(model=model, messages=messages)) as stream:
                on_headers(await stream.headers())
                async for text in stream.texts():
                    yield text
        except JanuaError as error:
            raise _grpc_error(error, self._address) from error


def _grpc_error(error: JanuaError, address: str) -> CommandError:
    said = f"the gateway answered {error.code.name}: {one_line(error.message)}"
    match error:
        case UnavailableError() if not error.reason:  # not from a gateway, which gives reasons
            return _unreachable(address, error.message)
        case UnauthenticatedError() | PermissionDeniedError():
            return CommandError(f"{said}; {_KEY_ADVICE}")
        case NotFoundError():
            return CommandError(f"{said}; {_ROUTE_ADVICE}")
    return CommandError(said)
