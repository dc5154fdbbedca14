"""OpenAI's older completions at both ends of a node: one prompt, and texts that go on from it."""

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest

from tests.conformance.dialect_backends import Seen, event, halves
from tests.conformance.dialect_openai import OpenAIBackend, OpenAIClient, read_usage, usage_fields
from tests.conformance.dialects import (
    Ask,
    HttpClient,
    Json,
    Reply,
    Token,
    Told,
    given,
    settings_in,
    sse_events,
)
from tests.support.http_wire import ReceivedRequest

SETTINGS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "seed": "seed",
    "presence penalty": "presence_penalty",
    "frequency penalty": "frequency_penalty",
    "stop sequences": "stop",
    "limit of tokens": "max_tokens",
    "several choices": "n",
    "user": "user",
}
HAS = frozenset(SETTINGS) | {
    "cached tokens",
    "thinking tokens",
    "logprobs",
    "logprobs of other tokens",
    "stop by a filter",
}


class CompletionsClient(HttpClient):
    """OpenAI's completions."""

    name = "completions"
    kinds = OpenAIClient.kinds
    has = HAS
    settings = SETTINGS
    own_field = ("suffix", " and so on")

    def path(self, model: str, *, streamed: bool) -> str:
        return "/v1/completions"

    def body(self, ask: Ask, *, streamed: bool) -> Json:
        return given(
            model=ask.model,
            prompt=ask.text,
            logprobs=ask.logprobs,
            stream=streamed or None,
            stream_options={"include_usage": True} if streamed else None,
        )

    def read_whole(self, body: Json) -> Reply:
        return self._read([body])

    def read_stream(self, data: bytes) -> Reply:
        events = [text for _, text in sse_events(data)]
        chunks = [json.loads(text) for text in events if text != "[DONE]"]
        reply = self._read([chunk for chunk in chunks if "error" not in chunk])
        if errors := [chunk for chunk in chunks if "error" in chunk]:
            (chunk,) = errors
            failed = self.read_error(chunk)
            return replace(reply, error=failed.error, kind=failed.kind)
        return replace(reply, is_ended=bool(events) and events[-1] == "[DONE]")

    def _read(self, chunks: Sequence[Json]) -> Reply:
        assert all(chunk["object"] == "text_completion" for chunk in chunks)
        choices = [choice for chunk in chunks for choice in chunk["choices"]]
        first = [choice for choice in choices if choice["index"] == 0]
        texts: dict[int, str] = {}
        for choice in choices:
            texts[choice["index"]] = texts.get(choice["index"], "") + choice["text"]
        return Reply(
            models=frozenset(chunk["model"] for chunk in chunks),
            told=Told(
                text=texts.pop(0, ""),
                tokens=tuple(token for choice in first if choice["logprobs"] for token in _tokens(choice["logprobs"])),
                others=tuple(text for _, text in sorted(texts.items())),
                finish="".join(choice["finish_reason"] or "" for choice in first),
                **read_usage(next((chunk["usage"] for chunk in reversed(chunks) if chunk.get("usage")), {})),
            ),
        )

    def read_error(self, body: Json) -> Reply:
        return OpenAIClient().read_error(body)


def _tokens(logprobs: Json) -> list[Token]:
    rows = zip(logprobs["tokens"], logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True)
    return [Token(text, logprob, tuple(top.items())) for text, logprob, top in rows]


class CompletionsBackend(OpenAIBackend):
    """A server of one's own that has OpenAI's completions."""

    name = "completions"
    has = HAS
    own: frozenset[str] = frozenset()

    def path(self, *, streamed: bool) -> str:
        return "/v1/completions"

    def whole(self, told: Told) -> Json:
        choices = [self._choice(0, told.text, told.tokens, told.finish)]
        choices += (self._choice(number, text, (), "stop") for number, text in enumerate(told.others, 1))
        return {**self._envelope("text_completion"), "choices": choices, "usage": usage_fields(told)}

    def pieces(self, told: Told) -> list[bytes]:
        choices = [
            self._choice(0, text, [token] if token else (), None)
            for text, token in zip_longest(halves(told.text), told.tokens)
        ]
        for number, other in enumerate(told.others, 1):
            choices[1:1] = [
                self._choice(number, text, (), None) for text in halves(other)
            ]  # between those of the first
            choices.append(self._choice(number, "", (), "stop"))
        choices.append(self._choice(0, "", (), told.finish))
        envelope = self._envelope("text_completion")
        chunks = [{**envelope, "choices": [choice], "usage": None} for choice in choices]
        last = {**envelope, "choices": [], "usage": usage_fields(told)}
        return [*map(event, (*chunks, last)), b"data: [DONE]\n\n"]

    def _choice(self, number: int, text: str, tokens: Sequence[Token], finish: str | None) -> Json:
        logprobs = {
            "tokens": [token.text for token in tokens],
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": [dict(token.others) for token in tokens],
            "text_offset": [0 for _ in tokens],
        }
        return {"text": text, "index": number, "logprobs": logprobs if tokens else None, "finish_reason": finish}

    def read(self, request: ReceivedRequest) -> Seen:
        body = request.json()
        return Seen(
            model=body["model"],
            is_streaming=self.is_streaming(request),
            texts=(body["prompt"],),
            logprobs=body.get("logprobs"),
            settings=settings_in(body, SETTINGS),
        )
