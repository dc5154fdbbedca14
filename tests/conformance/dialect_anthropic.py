"""Anthropic's messages at both ends of a node."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tests.conformance.dialect_backends import SECRET, Seen, event, halves, parts_of, provider_service, text_of
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
    Told,
    base64_of,
    given,
    settings_in,
    sse_events,
)
from tests.support.http_wire import ReceivedRequest

SETTINGS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "stop sequences": "stop_sequences",
    "limit of tokens": "max_tokens",
    "user": "metadata.user_id",
}
HAS = (
    TOOLS
    | CHOICES
    | SETTINGS.keys()
    | {
        "system prompt",
        "image",
        "image by address",
        "PDF",
        "PDF by address",
        "document of text",
        "name of a document",
        "marks to cache",
        "failure of a tool",
        "JSON schema",
        "one call at a time",
        "thinking",
        "thinking replayed",
        "cached tokens",
        "thinking tokens",
        "sources",
        "refusal",
        "stop by a filter",
        "stop sequence told",
    }
)
_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
_FINISHES = {reason: finish for finish, reason in _REASONS.items()} | {"stop_sequence": "stop"}
_MODES = {"required": "any", "none": "none", "auto": "auto"}


class AnthropicClient(HttpClient):
    """Anthropic's messages."""

    name = "anthropic"
    kinds = {  # noqa: RUF012
        400: "invalid_request_error",
        404: "not_found_error",
        413: "request_too_large",
        429: "rate_limit_error",
        502: "api_error",
        503: "overloaded_error",
        504: "timeout_error",
    }
    has = HAS
    settings = SETTINGS
    own_field = ("container", "container_1")

    def path(self, model: str, *, streamed: bool) -> str:
        return "/v1/messages"

    def key(self, key: str) -> Mapping[str, str]:
        headers = {"anthropic-version": "2023-06-01", "anthropic-beta": "some-beta"}
        return {**headers, "x-api-key": key} if key else headers

    def body(self, ask: Ask, *, streamed: bool) -> Json:
        mark = {"cache_control": {"type": "ephemeral"}} if ask.caches else {}
        question = [{"type": "text", "text": ask.text, **mark}, *self.media(ask)]
        messages: list[Json] = [{"role": "user", "content": question}]
        if ask.before is not None:
            results = [
                given(type="tool_result", tool_use_id=call.id, content=ask.result, is_error=ask.failed or None)
                for call in ask.before.calls
            ]
            messages.append({"role": "assistant", "content": self.blocks(ask.before)})
            messages.append({"role": "user", "content": results or "and now?"})
        return given(
            model=ask.model,
            max_tokens=2000,
            system=ask.system or None,
            messages=messages,
            tools=[{"name": name, "input_schema": TOOL_PARAMETERS} for name in ask.tools] or None,
            tool_choice=self.choice(ask),
            thinking={"type": "enabled", "budget_tokens": 1024} if ask.thinks else None,
            output_config={"format": {"type": "json_schema", "schema": ask.schema}} if ask.schema else None,
            stream=streamed or None,
        )

    def media(self, ask: Ask) -> list[Json]:
        """What a question brings along."""
        blocks: list[Json] = []
        if ask.image_url:
            blocks.append({"type": "image", "source": {"type": "url", "url": ask.image_url}})
        if ask.image:
            source = {"type": "base64", "media_type": "image/png", "data": ask.image}
            blocks.append({"type": "image", "source": source})
        if ask.pdf:
            source = {"type": "base64", "media_type": "application/pdf", "data": ask.pdf}
            blocks.append({"type": "document", "title": PDF_NAME, "source": source})
        if ask.pdf_url:
            blocks.append({"type": "document", "source": {"type": "url", "url": ask.pdf_url}})
        if ask.document:
            source = {"type": "text", "media_type": "text/plain", "data": ask.document}
            blocks.append({"type": "document", "title": TEXT_NAME, "source": source})
        return blocks

    def choice(self, ask: Ask) -> Json | None:
        """How freely the model chooses among the tools."""
        if not (ask.choice or ask.one_call):
            return None
        choice = (
            {"type": "tool", "name": ask.choice} if ask.choice in ask.tools else {"type": _MODES[ask.choice or "auto"]}
        )
        return {**choice, "disable_parallel_tool_use": True} if ask.one_call else choice

    def blocks(self, told: Told) -> list[Json]:
        """A turn of the model."""
        blocks: list[Json] = []
        if told.thinking:
            blocks.append({"type": "thinking", "thinking": told.thinking, "signature": told.signature})
        if told.text:
            blocks.append({"type": "text", "text": told.text})
        blocks += (
            {"type": "tool_use", "id": call.id, "name": call.name, "input": dict(call.arguments)} for call in told.calls
        )
        return blocks

    def read_whole(self, body: Json) -> Reply:
        assert (body["type"], body["role"]) == ("message", "assistant")
        return Reply(models=frozenset({body["model"]}), told=self._told(body["content"], body, body["usage"]))

    def _told(self, blocks: Sequence[Json], end: Json, usage: Json) -> Told:
        of = {kind: [block for block in blocks if block["type"] == kind] for kind in ("thinking", "text", "tool_use")}
        cached = usage.get("cache_read_input_tokens") or 0
        written = usage.get("cache_creation_input_tokens") or 0
        text = "".join(block["text"] for block in of["text"])
        finish = _FINISHES.get(end["stop_reason"] or "", "")
        refusal = (end.get("stop_details") or {}).get("explanation") or ""
        return Told(
            thinking="".join(block["thinking"] for block in of["thinking"]),
            signature="".join(block["signature"] for block in of["thinking"]),
            text=text,
            refusal=refusal or (text if finish == "content_filter" else ""),
            calls=tuple(Call(id=each["id"], name=each["name"], arguments=each["input"]) for each in of["tool_use"]),
            sources=tuple(
                (source["url"], source["title"])
                for block in of["text"]
                for source in block.get("citations") or ()
                if "url" in source
            ),
            finish=finish,
            stop_sequence=end.get("stop_sequence") or "",
            usage=(usage["input_tokens"] + cached + written, cached, usage["output_tokens"]),
            thought_tokens=(usage.get("output_tokens_details") or {}).get("thinking_tokens") or 0,
        )

    def read_stream(self, data: bytes) -> Reply:
        blocks: list[Json] = []
        end: Json = {"stop_reason": None}
        usage: Json = {}
        models: list[str] = []
        error: Reply | None = None
        kinds: list[str] = []
        for name, text in sse_events(data):
            event = json.loads(text)
            assert name == event["type"]
            kinds.append(name)
            match name:
                case "message_start":
                    models.append(event["message"]["model"])
                    usage |= event["message"]["usage"]
                case "content_block_start":
                    assert event["index"] == len(blocks)
                    blocks.append({"partial": "", "signature": "", **event["content_block"]})
                case "content_block_delta":
                    self._extend(blocks[event["index"]], event["delta"])
                case "content_block_stop":
                    block = blocks[event["index"]]
                    if block["type"] == "tool_use":
                        block["input"] = json.loads(block["partial"] or "{}")
                case "message_delta":
                    end = event["delta"]
                    usage |= {name: value for name, value in event["usage"].items() if value is not None}
                case "error":
                    assert error is None, "the last event is one"
                    error = self.read_error(event)
        told = self._told(blocks, end, usage) if models else Told()
        reply = Reply(models=frozenset(models), told=told)
        if error is not None:
            assert "message_stop" not in kinds
            return replace(reply, error=error.error, kind=error.kind)
        return replace(reply, is_ended=kinds[0] == "message_start" and kinds[-1] == "message_stop")

    def _extend(self, block: Json, delta: Json) -> None:
        match delta:
            case {"type": "text_delta", "text": text}:
                block["text"] += text
            case {"type": "thinking_delta", "thinking": text}:
                block["thinking"] += text
            case {"type": "signature_delta", "signature": signature}:
                block["signature"] = signature
            case {"type": "input_json_delta", "partial_json": text}:
                block["partial"] += text
            case {"type": "citations_delta", "citation": citation}:
                block["citations"] = [*(block.get("citations") or ()), citation]
            case _:
                raise AssertionError(delta)

    def read_error(self, body: Json) -> Reply:
        assert body["type"] == "error"
        return Reply(error=body["error"]["message"], kind=body["error"]["type"])


class AnthropicBackend:
    """Anthropic as a provider."""

    name = "anthropic"
    credential = ("x-api-key", SECRET)
    has = HAS
    own: frozenset[str] = frozenset()
    stream_type = "text/event-stream"

    def path(self, *, streamed: bool) -> str:
        return "/v1/messages"

    def is_streaming(self, request: ReceivedRequest) -> bool:
        return bool(request.json().get("stream"))

    def service(self, address: str) -> Mapping[str, Any]:
        return provider_service("anthropic", address)

    def whole(self, told: Told) -> Json:
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": UPSTREAM_MODEL,
            "content": self._blocks(told),
            **self._end(told),
            "usage": self._usage(told),
        }

    def pieces(self, told: Told) -> list[bytes]:
        message = {**self.whole(told), "content": [], "stop_reason": None, "stop_sequence": None, "stop_details": None}
        message["usage"] = {**message["usage"], "output_tokens": 1}
        pieces = [_named("message_start", message=message), _named("ping")]
        for number, block in enumerate(self._blocks(told)):
            begun, deltas = self._opened(block)
            pieces.append(_named("content_block_start", index=number, content_block=begun))
            pieces += (_named("content_block_delta", index=number, delta=delta) for delta in deltas)
            pieces.append(_named("content_block_stop", index=number))
        usage = {"output_tokens": told.usage[2], **self._output_details(told)}
        return [*pieces, _named("message_delta", delta=self._end(told), usage=usage), _named("message_stop")]

    def end_pieces(self) -> int:
        return 2

    def _opened(self, block: Json) -> tuple[Json, list[Json]]:
        """How a block begins, and what makes it whole."""
        match block["type"]:
            case "thinking":
                signed = {"type": "signature_delta", "signature": block["signature"]}
                deltas = [{"type": "thinking_delta", "thinking": text} for text in halves(block["thinking"])]
                return {**block, "thinking": "", "signature": ""}, [*deltas, signed]
            case "tool_use":
                texts = halves(json.dumps(block["input"]))
                return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": text} for text in texts]
            case _:
                cited = [{"type": "citations_delta", "citation": citation} for citation in block.get("citations", ())]
                said = [{"type": "text_delta", "text": text} for text in halves(block["text"])]
                return {"type": "text", "text": ""}, [*said, *cited]

    def _blocks(self, told: Told) -> list[Json]:
        blocks: list[Json] = []
        if told.thinking:
            blocks.append({"type": "thinking", "thinking": told.thinking, "signature": told.signature})
        if told.text:
            found = {"type": "web_search_result_location", "cited_text": "words", "encrypted_index": "i"}
            sources = [{**found, "url": url, "title": title} for url, title in told.sources]
            blocks.append(given(type="text", text=told.text, citations=sources or None))
        blocks += (
            {"type": "tool_use", "id": call.id, "name": call.name, "input": dict(call.arguments)} for call in told.calls
        )
        return blocks

    def _end(self, told: Told) -> Json:
        if told.stop_sequence:
            return {"stop_reason": "stop_sequence", "stop_sequence": told.stop_sequence}
        if told.refusal:
            details = {"type": "refusal", "explanation": told.refusal}
            return {"stop_reason": "refusal", "stop_sequence": None, "stop_details": details}
        return {"stop_reason": _REASONS[told.finish], "stop_sequence": None}

    def _output_details(self, told: Told) -> Json:
        return {"output_tokens_details": {"thinking_tokens": told.thought_tokens}} if told.thought_tokens else {}

    def _usage(self, told: Told) -> Json:
        read, cached, written = told.usage
        return {
            "input_tokens": read - cached,
            "cache_read_input_tokens": cached,
            "cache_creation_input_tokens": 0,
            "output_tokens": written,
            **self._output_details(told),
        }

    def error_body(self, kind: str, message: str) -> Json:
        error = {"type": {"overloaded": "overloaded_error"}.get(kind, "api_error"), "message": message}
        return {"type": "error", "error": error, "request_id": "req_1"}

    def error_piece(self, message: str) -> bytes:
        return _named("error", error={"type": "api_error", "message": message})

    def read(self, request: ReceivedRequest) -> Seen:
        body = request.json()
        blocks = [(each["role"], block) for each in body["messages"] for block in parts_of(each["content"])]
        own = [block for role, block in blocks if role == "assistant"]
        asked = [block for role, block in blocks if role == "user"]
        thoughts = [block for block in own if block["type"] == "thinking"]
        choice: Json = body.get("tool_choice", {})
        sources = {
            kind: [block["source"] for block in asked if block["type"] == kind] for kind in ("image", "document")
        }
        return Seen(
            model=body["model"],
            is_streaming=self.is_streaming(request),
            system=text_of(body.get("system", "")),
            texts=tuple(block["text"] for block in asked if block["type"] == "text"),
            images=tuple(source.get("data", source.get("url")) for source in sources["image"]),
            files=tuple(
                (block["title"], block["source"]["media_type"], _data_of(block["source"]))
                for block in asked
                if block["type"] == "document" and "data" in block["source"]
            ),
            caches=any("cache_control" in block for block in asked),
            failed=any(block.get("is_error") for block in asked),
            file_urls=tuple(source["url"] for source in sources["document"] if source["type"] == "url"),
            tools={tool["name"]: tool["input_schema"] for tool in body.get("tools", ())},
            choice=choice.get("name") or {"any": "required", "none": "none"}.get(choice.get("type", ""), ""),
            one_call=choice.get("disable_parallel_tool_use") is True,
            thinks="thinking" in body,
            settings=settings_in(body, SETTINGS),
            schema=body.get("output_config", {}).get("format", {}).get("schema"),
            said=Told(
                thinking="".join(block["thinking"] for block in thoughts),
                signature="".join(block["signature"] for block in thoughts),
                text="".join(block["text"] for block in own if block["type"] == "text"),
                calls=tuple(
                    Call(id=block["id"], name=block["name"], arguments=block["input"])
                    for block in own
                    if block["type"] == "tool_use"
                ),
            ),
            results=tuple(
                (block["tool_use_id"], text_of(block["content"])) for block in asked if block["type"] == "tool_result"
            ),
        )


def _data_of(source: Json) -> str:
    """The data of a document in base64."""
    data: str = source["data"]
    return base64_of(data) if source["type"] == "text" else data


def _named(kind: str, **fields: Any) -> bytes:
    """One of Anthropic's events."""
    return f"event: {kind}\n".encode() + event({"type": kind, **fields})
