"""Questions over HTTP, in OpenAI's dialect."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from io import BytesIO
from typing import Any

import aiohttp

from tests.conformance.calls import (
    CUT,
    EVENT,
    GARBLED,
    Answer,
    CallFailedError,
    Failure,
    Models,
    Piece,
    Question,
    Vectors,
    Wire,
)

Headers = Mapping[str, str]


class HttpCaller:
    """Calls a node's HTTP listener."""

    wire = Wire.HTTP

    def __init__(self, address: str, session: aiohttp.ClientSession, *, scheme: str = "http") -> None:
        self._url = f"{scheme}://{address}"
        self._session = session

    async def ask_whole(self, question: Question) -> Answer:
        """A unary call."""
        path = "/v1/chat/completions"
        async with self._post(path, _chat_body(question, streamed=False), question.headers) as response:
            body = await _json(response)
            return Answer(wire=self.wire, headers=_headers(response), pieces=[_piece(body)])

    @asynccontextmanager
    async def stream(self, question: Question) -> AsyncIterator["HttpStream"]:
        """A streamed call. Leaving it early closes the connection."""
        path = "/v1/chat/completions"
        async with self._post(path, _chat_body(question, streamed=True), question.headers) as response:
            if response.status != 200:
                raise _failed(response, await response.read())
            try:
                yield HttpStream(response)
            finally:
                response.close()

    async def embed(self, model: str, texts: Sequence[str]) -> Vectors:
        """Embeddings."""
        async with self._post("/v1/embeddings", {"model": model, "input": list(texts)}, {}) as response:
            body = await _json(response)
        usage = body["usage"]
        return Vectors(
            model=body["model"],
            vectors=[item["embedding"] for item in body["data"]],
            usage=(usage["prompt_tokens"], usage["total_tokens"] - usage["prompt_tokens"]),
            headers=_headers(response),
        )

    async def models(self, headers: Mapping[str, str] | None = None) -> Models:
        """The models that are served."""
        async with self._session.get(f"{self._url}/v1/models", headers=headers) as response:
            ids = [model["id"] for model in (await _json(response))["data"]]
            return Models(ids=ids, headers=_headers(response))

    def _post(self, path: str, body: object, headers: Headers) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        data = BytesIO(json.dumps(body).encode())  # aiohttp takes no bytes of more than 1 MiB
        return self._session.post(self._url + path, data=data, headers={"content-type": "application/json", **headers})


class HttpStream:
    """Server-sent events as pieces."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.headers = _headers(response)

    async def __aiter__(self) -> AsyncIterator[Piece]:
        """The pieces, until the end mark."""
        try:
            async for event, data in self._events():
                if data == "[DONE]":
                    return
                body = json.loads(data)
                if event == "error" or "error" in body:
                    raise CallFailedError(_failure(EVENT, data), self.headers)
                yield _piece(body)
        except aiohttp.ClientError as error:
            raise CallFailedError(Failure(status=CUT, message=str(error)), self.headers) from error
        except json.JSONDecodeError as error:
            raise CallFailedError(Failure(status=GARBLED, message=str(error)), self.headers) from error
        raise CallFailedError(Failure(status=CUT), self.headers)

    async def _events(self) -> AsyncIterator[tuple[str, str]]:
        event, data = "", []
        while line := (await self._response.content.readline()).decode():
            text = line.rstrip("\r\n")
            name, _, value = text.partition(":")
            if name == "event":
                event = value.removeprefix(" ")
            elif name == "data":
                data.append(value.removeprefix(" "))
            elif not text and data:
                yield event, "\n".join(data)
                event, data = "", []


def _chat_body(question: Question, *, streamed: bool) -> Mapping[str, Any]:
    body: dict[str, Any] = {"model": question.model, "messages": [{"role": "user", "content": question.text}]}
    if question.tools:
        body["tools"] = [{"type": "function", "function": {"name": name}} for name in question.tools]
    if question.top_logprobs is not None:
        body |= {"logprobs": True, "top_logprobs": question.top_logprobs}
    if streamed:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body


def _piece(body: Mapping[str, Any]) -> Piece:
    """A whole answer, or one chunk."""
    choice = body["choices"][0] if body["choices"] else {}
    message = choice.get("message") or choice.get("delta") or {}
    functions = [call["function"] for call in message.get("tool_calls") or ()]
    tokens = (choice.get("logprobs") or {}).get("content") or ()
    usage = body.get("usage")
    return Piece(
        model=body["model"],
        text=message.get("content") or "",
        finish_reason=choice.get("finish_reason") or "",
        tool_calls=tuple((function.get("name") or "", function.get("arguments") or "") for function in functions),
        logprobs=tuple((token["token"], token["logprob"]) for token in tokens),
        usage=(usage["prompt_tokens"], usage["completion_tokens"]) if usage else None,
    )


async def _json(response: aiohttp.ClientResponse) -> Any:
    body = await response.read()
    if response.status != 200:
        raise _failed(response, body)
    return json.loads(body)


def _failed(response: aiohttp.ClientResponse, body: bytes) -> CallFailedError:
    headers = _headers(response)
    return CallFailedError(_failure(str(response.status), body.decode(), headers.get("retry-after")), headers)


def _failure(status: str, body: str, retry_after: str | None = None) -> Failure:
    error = json.loads(body)["error"]
    return Failure(
        status=status,
        reason=(error["code"] or "").upper(),
        message=error["message"],
        param=error["param"],
        retry_after_s=float(retry_after) if retry_after else None,
    )


def _headers(response: aiohttp.ClientResponse) -> Headers:
    return {name.lower(): value for name, value in response.headers.items()}
