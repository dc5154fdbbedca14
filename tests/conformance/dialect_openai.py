"""OpenAI's chat completions at both ends of a node: thoughts stand in `reasoning_details`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any

from tests.conformance.dialect_backends import Seen, event, halves, parts_of, pictures_of, system_of, upstream_service
from tests.conformance.dialects import (
    CHOICES,
    PDF_NAME,
    TEXT_NAME,
    TOOL_PARAMETERS,
    TOOLS,
    UPSTREAM_MODEL,
    Ask,
    Call,
    HttpClient,
    Json,
    Reply,
    Token,
    Told,
    base64_of,
    data_url,
    given,
    openai_function,
    read_data_url,
    settings_in,
    sse_events,
)
from tests.support.http_wire import ReceivedRequest

SETTINGS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",  # not OpenAI's own servers, but many others
    "seed": "seed",
    "presence penalty": "presence_penalty",
    "frequency penalty": "frequency_penalty",
    "stop sequences": "stop",
    "limit of tokens": "max_tokens",
    "several choices": "n",
    "user": "user",
    "labels": "metadata",
}
HAS = (
    TOOLS
    | CHOICES
    | SETTINGS.keys()
    | {
        "system prompt",
        "image",
        "image by address",
        "audio",
        "PDF",
        "document of text",
        "name of a document",
        "JSON schema",
        "JSON without a schema",
        "one call at a time",
        "thinking",
        "thinking replayed",
        "cached tokens",
        "thinking tokens",
        "logprobs",
        "logprobs of other tokens",
        "sources",
        "refusal",
        "stop by a filter",
    }
)


class OpenAIClient(HttpClient):
    """OpenAI's chat completions; thoughts in `reasoning_details`."""

    name = "openai"
    kinds = {  # noqa: RUF012  # never changed
        400: "invalid_request_error",
        404: "not_found_error",
        413: "invalid_request_error",
        429: "rate_limit_error",
        502: "server_error",
        503: "server_error",
        504: "server_error",
    }
    has = HAS | {"marks to cache"}
    settings = SETTINGS
    own_field = ("prediction", {"type": "content", "content": "hello"})

    def path(self, model: str, *, streamed: bool) -> str:
        return "/v1/chat/completions"

    def body(self, ask: Ask, *, streamed: bool) -> Json:
        mark = {"prompt_cache_breakpoint": {"mode": "explicit"}} if ask.caches else {}
        parts: list[Json] = [{"type": "text", "text": ask.text, **mark}, *self.media(ask)]
        question: Any = parts if len(parts) > 1 or mark else ask.text
        messages: list[Json] = [{"role": "system", "content": ask.system}] if ask.system else []
        messages.append({"role": "user", "content": question})
        if ask.before is not None:
            messages.append(self.turn(ask.before))
            messages += [{"role": "tool", "tool_call_id": call.id, "content": ask.result} for call in ask.before.calls]
            messages += [] if ask.before.calls else [{"role": "user", "content": "and now?"}]
        functions = [{"name": name, "parameters": TOOL_PARAMETERS} for name in ask.tools]
        named = {"type": "function", "function": {"name": ask.choice}}
        return given(
            model=ask.model,
            messages=messages,
            tools=[{"type": "function", "function": function} for function in functions] or None,
            tool_choice=named if ask.choice in ask.tools else ask.choice or None,
            parallel_tool_calls=False if ask.one_call else None,
            reasoning_effort="low" if ask.thinks else None,
            response_format=self.format(ask),
            logprobs=True if ask.logprobs is not None else None,
            top_logprobs=ask.logprobs or None,
            stream=streamed or None,
            stream_options={"include_usage": True} if streamed else None,
        )

    def media(self, ask: Ask) -> list[Json]:
        """What a question brings along."""
        pictures = [ask.image_url, data_url("image/png", ask.image) if ask.image else ""]
        parts: list[Json] = [{"type": "image_url", "image_url": {"url": url}} for url in pictures if url]
        if ask.audio:
            parts.append({"type": "input_audio", "input_audio": {"data": ask.audio, "format": "wav"}})
        for name, url in files_of(ask):
            parts.append({"type": "file", "file": {"filename": name, "file_data": url}})
        return parts

    def format(self, ask: Ask) -> Json | None:
        """The form of the answer."""
        if ask.schema is not None:
            return {"type": "json_schema", "json_schema": {"name": "answer", "schema": ask.schema}}
        return {"type": "json_object"} if ask.is_json else None

    def turn(self, told: Told) -> Json:
        detail = given(type="reasoning.text", text=told.thinking, signature=told.signature or None)
        return given(
            role="assistant",
            content=told.text or None,
            reasoning_details=[detail] if told.thinking else None,
            tool_calls=[{"id": call.id, "type": "function", "function": openai_function(call)} for call in told.calls]
            or None,
        )

    def read_whole(self, body: Json) -> Reply:
        assert body["object"] == "chat.completion"
        return self._read([{**body, "choices": [{**choice, "delta": choice["message"]} for choice in body["choices"]]}])

    def read_stream(self, data: bytes) -> Reply:
        events = sse_events(data)
        chunks = [json.loads(text) for _, text in events if text != "[DONE]"]
        reply = self._read([chunk for chunk in chunks if "error" not in chunk])
        if errors := [chunk for chunk in chunks if "error" in chunk]:
            (chunk,) = errors
            failed = self.read_error(chunk)
            return replace(reply, error=failed.error, kind=failed.kind, is_ended=True)
        return replace(reply, is_ended=bool(events) and events[-1][1] == "[DONE]")

    def _read(self, chunks: Sequence[Json]) -> Reply:
        choices = [choice for chunk in chunks for choice in chunk["choices"]]
        deltas = [choice["delta"] for choice in choices if choice["index"] == 0]
        texts: dict[int, str] = {}
        for choice in choices:
            text = choice["delta"].get("content") or ""
            texts[choice["index"]] = texts.get(choice["index"], "") + text
        details = [detail for delta in deltas for detail in delta.get("reasoning_details") or ()]
        calls: dict[int, dict[str, str]] = {}
        for delta in deltas:
            for number, call in enumerate(delta.get("tool_calls") or ()):
                merged = calls.setdefault(call.get("index", number), {"id": "", "name": "", "arguments": ""})
                merged["id"] += call.get("id") or ""
                merged["name"] += call["function"].get("name") or ""
                merged["arguments"] += call["function"].get("arguments") or ""
        usage: Json = next((chunk["usage"] for chunk in reversed(chunks) if chunk.get("usage")), {})
        return Reply(
            models=frozenset(chunk["model"] for chunk in chunks),
            told=Told(
                thinking="".join(_thought(delta) for delta in deltas),
                signature="".join(detail.get("signature", "") for detail in details),
                text=texts.pop(0, ""),
                refusal="".join(delta.get("refusal") or "" for delta in deltas),
                calls=tuple(
                    Call(id=call["id"], name=call["name"], arguments=json.loads(call["arguments"] or "{}"))
                    for _, call in sorted(calls.items())
                ),
                sources=tuple(
                    (source["url_citation"]["url"], source["url_citation"]["title"])
                    for delta in deltas
                    for source in delta.get("annotations") or ()
                ),
                tokens=tuple(
                    read_token(token)
                    for choice in choices
                    for token in (choice.get("logprobs") or {}).get("content") or ()
                ),
                others=tuple(text for _, text in sorted(texts.items())),
                finish="".join(choice.get("finish_reason") or "" for choice in choices if choice["index"] == 0),
                **read_usage(usage),
            ),
        )

    def read_error(self, body: Json) -> Reply:
        error = body["error"]
        assert error.keys() >= {"message", "type", "code"}  # Azure, whose errors are shown as they are, has no `param`
        return Reply(error=error["message"], kind=error["type"])


def _thought(delta: Json) -> str:
    details = delta.get("reasoning_details") or ()
    return delta.get("reasoning_content") or "".join(detail.get("text", "") for detail in details)


def files_of(ask: Ask) -> list[tuple[str, str]]:
    """The names and addresses of the documents that a question brings along."""
    pdf = [(PDF_NAME, data_url("application/pdf", ask.pdf))] if ask.pdf else []
    text = [(TEXT_NAME, data_url("text/plain", base64_of(ask.document)))] if ask.document else []
    return [*pdf, *text]


def read_token(token: Json) -> Token:
    """A token with its probability."""
    others = tuple((other["token"], other["logprob"]) for other in token["top_logprobs"])
    return Token(token["token"], token["logprob"], others)


def token_fields(token: Token) -> Json:
    """The same as OpenAI and Ollama write it."""
    top = [{"token": text, "logprob": logprob, "bytes": None} for text, logprob in token.others]
    return {"token": token.text, "logprob": token.logprob, "bytes": list(token.text.encode()), "top_logprobs": top}


def read_usage(usage: Json) -> dict[str, Any]:
    """The fields of `Told` that tell what was used."""
    prompt, answer = (usage.get(f"{name}_tokens_details") or {} for name in ("prompt", "completion"))
    counts = (usage.get("prompt_tokens", 0), prompt.get("cached_tokens") or 0, usage.get("completion_tokens", 0))
    return {"usage": counts, "thought_tokens": answer.get("reasoning_tokens") or 0}


def usage_fields(told: Told) -> Json:
    """The same as a backend writes it."""
    read, cached, written = told.usage
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": told.thought_tokens},
    }


class OpenAIBackend:
    """A server of one's own that speaks OpenAI's chat completions."""

    name = "openai"
    credential: tuple[str, str] | None = None
    has = HAS
    own = frozenset({"marks to cache"})
    stream_type = "text/event-stream"

    def path(self, *, streamed: bool) -> str:
        return "/v1/chat/completions"

    def is_streaming(self, request: ReceivedRequest) -> bool:
        return bool(request.json().get("stream"))

    def service(self, address: str) -> Mapping[str, Any]:
        return upstream_service("OPENAI")

    def whole(self, told: Told) -> Json:
        detail = given(type="reasoning.text", text=told.thinking, signature=told.signature or None)
        message = given(
            role="assistant",
            content=told.text,
            refusal=told.refusal or None,
            annotations=_annotations(told) or None,
            reasoning_details=[detail] if told.thinking else None,
            tool_calls=[{"id": call.id, "type": "function", "function": openai_function(call)} for call in told.calls]
            or None,
        )
        logprobs = {"content": [token_fields(token) for token in told.tokens]} if told.tokens else None
        choices: list[Json] = [
            {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": told.finish},
            *(
                {"index": number, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
                for number, text in enumerate(told.others, 1)
            ),
        ]
        return {**self._envelope("chat.completion"), "choices": choices, "usage": usage_fields(told)}

    def pieces(self, told: Told) -> list[bytes]:
        deltas: list[Json] = [{"role": "assistant", "content": ""}]
        if told.thinking:
            detail = {"type": "reasoning.text", "index": 0}
            deltas += (
                {"reasoning": text, "reasoning_details": [{**detail, "text": text}]} for text in halves(told.thinking)
            )
            deltas.append({"reasoning_details": [{**detail, "text": "", "signature": told.signature}]})
        choices: list[Json] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
        for text, token in zip_longest(halves(told.text), told.tokens):
            logprobs = {"content": [token_fields(token)]} if token is not None else None
            choices.append({"index": 0, "delta": {"content": text}, "logprobs": logprobs, "finish_reason": None})
        deltas = [{"refusal": text} for text in halves(told.refusal)]
        for number, call in enumerate(told.calls):
            function = openai_function(call)
            first = {"index": number, "id": call.id, "type": "function", "function": {**function, "arguments": ""}}
            deltas.append({"tool_calls": [first]})
            for text in halves(function["arguments"]):
                deltas.append({"tool_calls": [{"index": number, "function": {"arguments": text}}]})
        if annotations := _annotations(told):
            deltas.append({"annotations": annotations})
        choices += ({"index": 0, "delta": delta, "finish_reason": None} for delta in deltas)
        for number, other in enumerate(told.others, 1):
            said = [{"index": number, "delta": {"content": text}, "finish_reason": None} for text in halves(other)]
            choices[number:number] = said  # between the pieces of the first
            choices.append({"index": number, "delta": {}, "finish_reason": "stop"})
        choices.append({"index": 0, "delta": {}, "finish_reason": told.finish})
        envelope = self._envelope("chat.completion.chunk")
        chunks = [{**envelope, "choices": [choice], "usage": None} for choice in choices]
        last = {**envelope, "choices": [], "usage": usage_fields(told)}
        return [*map(event, (*chunks, last)), b"data: [DONE]\n\n"]

    def end_pieces(self) -> int:
        return 3

    def _envelope(self, kind: str) -> Json:
        return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": UPSTREAM_MODEL}

    def error_body(self, kind: str, message: str) -> Json:
        names = {"context": "context_length_exceeded", "overloaded": "overloaded_error"}
        return {"error": {"message": message, "type": "error", "param": None, "code": names.get(kind)}}

    def error_piece(self, message: str) -> bytes:
        return event(self.error_body("", message))

    def read(self, request: ReceivedRequest) -> Seen:
        body = request.json()
        messages = body["messages"]
        parts = [part for each in messages if each["role"] == "user" for part in parts_of(each["content"])]
        said: Json = next((each for each in messages if each["role"] == "assistant"), {})
        details = said.get("reasoning_details") or ()
        wanted: Json = body.get("response_format") or {}
        return Seen(
            model=body["model"],
            is_streaming=self.is_streaming(request),
            system=system_of(messages),
            texts=tuple(part["text"] for part in parts if part["type"] == "text"),
            images=pictures_of(part["image_url"]["url"] for part in parts if part["type"] == "image_url"),
            sounds=tuple(part["input_audio"]["data"] for part in parts if part["type"] == "input_audio"),
            files=tuple(
                (part["file"]["filename"], *read_data_url(part["file"]["file_data"]))
                for part in parts
                if part["type"] == "file"
            ),
            caches=any("prompt_cache_breakpoint" in part or "cache_control" in part for part in parts),
            tools={tool["function"]["name"]: tool["function"]["parameters"] for tool in body.get("tools", ())},
            choice=_choice(body.get("tool_choice")),
            one_call=body.get("parallel_tool_calls") is False,
            thinks="reasoning_effort" in body,
            schema=wanted.get("json_schema", {}).get("schema"),
            is_json=wanted.get("type") == "json_object",
            logprobs=body.get("top_logprobs") or 0 if body.get("logprobs") else None,
            settings=settings_in(body, SETTINGS),
            said=Told(
                thinking="".join(detail.get("text", "") for detail in details),
                signature="".join(detail.get("signature", "") for detail in details),
                text="".join(part["text"] for part in parts_of(said.get("content") or "")),
                calls=tuple(
                    Call(
                        id=call["id"],
                        name=call["function"]["name"],
                        arguments=json.loads(call["function"]["arguments"]),
                    )
                    for call in said.get("tool_calls") or ()
                ),
            ),
            results=tuple(
                (each["tool_call_id"], "".join(part["text"] for part in parts_of(each["content"])))
                for each in messages
                if each["role"] == "tool"
            ),
        )


def _annotations(told: Told) -> list[Json]:
    place = {"start_index": 0, "end_index": len(told.text)}
    return [
        {"type": "url_citation", "url_citation": {"url": url, "title": title, **place}} for url, title in told.sources
    ]


def _choice(choice: Any) -> str:
    name: str = choice["function"]["name"] if isinstance(choice, dict) else choice
    return "" if name in (None, "auto") else name
