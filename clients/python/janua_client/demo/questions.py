"""Asking the model through the gateway, once over HTTP and once over gRPC, each answer as it is written."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import aiohttp
from janua.inference.v1.chat_pb2 import ChatCompletionRequest

from janua_client.cli.failures import CommandError
from janua_client.errors import JanuaError
from janua_client.inference_client import InferenceClient
from janua_client.messages import user

ENDPOINT_HEADER = "x-janua-endpoint"
LONGEST_ANSWER = 48  # tokens

_TIMEOUT_S = 120.0

OnText = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back: the whole text, and the endpoint that wrote it as the gateway names it."""

    text: str
    endpoint: str


async def ask_http(address: str, key: str, model: str, question: str, on_text: OnText) -> Answer:
    """Asks over HTTP with OpenAI's API; `on_text` gets each piece as it comes. Raises `CommandError`."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": question}],
        "max_tokens": LONGEST_ANSWER,
        "temperature": 0,
        "stream": True,
    }
    url, headers = f"http://{address}/v1/chat/completions", {"authorization": f"Bearer {key}"}
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(url, json=body, headers=headers) as response,
        ):
            if response.status != 200:
                raise CommandError(f"HTTP answered {response.status}: {await response.text()}")
            text = await _collect(_contents(response), on_text)
            return Answer(text=text, endpoint=response.headers.get(ENDPOINT_HEADER, ""))
    except (aiohttp.ClientError, TimeoutError) as error:
        raise CommandError(f"no answer over HTTP from {address}: {error or 'it took too long'}") from error


async def ask_grpc(address: str, key: str, model: str, question: str, on_text: OnText) -> Answer:
    """Asks over gRPC with Janua's typed API; `on_text` gets each piece as it comes. Raises `CommandError`."""
    request = ChatCompletionRequest(
        model=model, messages=[user(question)], max_output_tokens=LONGEST_ANSWER, temperature=0
    )
    try:
        async with (
            InferenceClient(address, api_key=key, timeout=_TIMEOUT_S) as client,
            client.stream_chat(request) as stream,
        ):
            text = await _collect(stream.texts(), on_text)
            return Answer(text=text, endpoint=(await stream.headers()).get(ENDPOINT_HEADER, ""))
    except JanuaError as error:
        raise CommandError(f"no answer over gRPC from {address}: {error}") from error


async def _collect(pieces: AsyncIterator[str], on_text: OnText) -> str:
    text = ""
    async for piece in pieces:
        on_text(piece)
        text += piece
    if not text:
        raise CommandError("the model's answer is empty")
    return text


async def _contents(response: aiohttp.ClientResponse) -> AsyncIterator[str]:
    """The pieces of text in a stream of server-sent events. Raises `CommandError` if it ends in an error, or early."""
    async for line in response.content:
        data = line.strip().removeprefix(b"data: ")
        if data == b"[DONE]":
            return
        if not line.startswith(b"data: "):
            continue
        event = json.loads(data)
        if "error" in event:
            raise CommandError(f"the answer broke off: {event['error'].get('message')}")
        for choice in event["choices"]:
            if content := choice["delta"].get("content"):
                yield content
    raise CommandError("the answer broke off before its end")
