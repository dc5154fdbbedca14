"""Bedrock's Converse behind a node, with its streams in binary frames."""

import json
import struct
import zlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from tests.conformance.dialect_backends import Seen, halves, upstream_service
from tests.conformance.dialects import CHOICES, TOOLS, UPSTREAM_MODEL, Call, Json, Told, given, settings_in
from tests.support.http_wire import ReceivedRequest

SETTINGS = {
    "temperature": "inferenceConfig.temperature",
    "top_p": "inferenceConfig.topP",
    "top_k": "additionalModelRequestFields.top_k",
    "stop sequences": "inferenceConfig.stopSequences",
    "limit of tokens": "inferenceConfig.maxTokens",
    "labels": "requestMetadata",
}
HAS = (
    TOOLS
    | CHOICES
    | SETTINGS.keys()
    | {
        "system prompt",
        "image",
        "audio",
        "PDF",
        "document of text",
        "name of a document",
        "marks to cache",
        "failure of a tool",
        "JSON schema",
        "thinking",
        "thinking replayed",
        "cached tokens",
        "sources",
        "stop by a filter",
        "stop sequence told",
    }
)
_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "content_filtered"}
_MEDIA_TYPES = {"pdf": "application/pdf", "txt": "text/plain"}


class BedrockBackend:
    """Bedrock, or what speaks as it does."""

    name = "bedrock"
    credential = None
    has = HAS
    own: frozenset[str] = frozenset()
    stream_type = "application/vnd.amazon.eventstream"

    def path(self, *, streamed: bool) -> str:
        return f"/model/{quote(UPSTREAM_MODEL, safe='')}/{'converse-stream' if streamed else 'converse'}"

    def is_streaming(self, request: ReceivedRequest) -> bool:
        return request.target.endswith("/converse-stream")

    def service(self, address: str) -> Mapping[str, Any]:
        return upstream_service("BEDROCK")

    def whole(self, told: Told) -> Json:
        blocks: list[Json] = []
        if told.thinking:
            thought = given(text=told.thinking, signature=told.signature or None)
            blocks.append({"reasoningContent": {"reasoningText": thought}})
        if told.sources:
            cited = {"content": [{"text": told.text}], "citations": _citations(told)}
            blocks.append({"citationsContent": cited})
        elif told.text:
            blocks.append({"text": told.text})
        calls = [{"toolUseId": call.id, "name": call.name, "input": dict(call.arguments)} for call in told.calls]
        blocks += ({"toolUse": call} for call in calls)
        return {
            "output": {"message": {"role": "assistant", "content": blocks}},
            **_end(told),
            "metrics": {"latencyMs": 1},
            "usage": self._usage(told),
        }

    def pieces(self, told: Told) -> list[bytes]:
        blocks: list[list[bytes]] = []
        if told.thinking:
            thoughts = [{"text": half} for half in halves(told.thinking)]
            signed = [{"signature": told.signature}] if told.signature else []
            blocks.append([self._delta(0, reasoningContent=delta) for delta in (*thoughts, *signed)])
        if told.text:
            deltas: list[Json] = [{"text": half} for half in halves(told.text)]
            deltas += ({"citation": citation} for citation in _citations(told))
            blocks.append([self._delta(len(blocks), **delta) for delta in deltas])
        for call in told.calls:
            number = len(blocks)
            start = {"toolUse": {"toolUseId": call.id, "name": call.name}}
            begun = _frame("contentBlockStart", contentBlockIndex=number, start=start)
            texts = halves(json.dumps(dict(call.arguments)))
            blocks.append([begun, *(self._delta(number, toolUse={"input": text}) for text in texts)])
        pieces = [_frame("messageStart", role="assistant")]
        for number, block in enumerate(blocks):
            pieces += [*block, _frame("contentBlockStop", contentBlockIndex=number)]
        metadata = {"usage": self._usage(told), "metrics": {"latencyMs": 1}}
        return [*pieces, _frame("messageStop", **_end(told)), _frame("metadata", **metadata)]

    def _delta(self, number: int, **delta: Any) -> bytes:
        return _frame("contentBlockDelta", contentBlockIndex=number, delta=delta)

    def end_pieces(self) -> int:
        return 2

    def _usage(self, told: Told) -> Json:
        read, cached, written = told.usage
        return {
            "inputTokens": read - cached,
            "cacheReadInputTokens": cached,
            "outputTokens": written,
            "totalTokens": read + written,
        }

    def error_body(self, kind: str, message: str) -> Json:
        return {"message": message}

    def error_piece(self, message: str) -> bytes:
        return _frame("modelStreamErrorException", message=message)

    def read(self, request: ReceivedRequest) -> Seen:
        body = request.json()
        blocks = [(each["role"], block) for each in body["messages"] for block in each["content"]]
        own = [block for role, block in blocks if role == "assistant"]
        asked = [block for role, block in blocks if role == "user"]
        thoughts = [block["reasoningContent"]["reasoningText"] for block in own if "reasoningContent" in block]
        results = [block["toolResult"] for block in asked if "toolResult" in block]
        tools = [tool["toolSpec"] for tool in body.get("toolConfig", {}).get("tools", ())]
        text_format = body.get("outputConfig", {}).get("textFormat")
        choice: Json = body.get("toolConfig", {}).get("toolChoice", {})
        documents = [block["document"] for block in asked if "document" in block]
        return Seen(
            model=request.target.removeprefix("/model/").partition("/")[0],
            is_streaming=self.is_streaming(request),
            system="".join(block["text"] for block in body.get("system", ())),
            texts=tuple(block["text"] for block in asked if "text" in block),
            images=tuple(block["image"]["source"]["bytes"] for block in asked if "image" in block),
            sounds=tuple(block["audio"]["source"]["bytes"] for block in asked if "audio" in block),
            files=tuple((each["name"], _MEDIA_TYPES[each["format"]], each["source"]["bytes"]) for each in documents),
            caches=any("cachePoint" in block for block in asked),
            failed=any(each.get("status") == "error" for each in results),
            tools={tool["name"]: tool["inputSchema"]["json"] for tool in tools},
            choice="required" if "any" in choice else choice.get("tool", {}).get("name", ""),
            thinks="thinking" in body.get("additionalModelRequestFields", {}),
            settings=settings_in(body, SETTINGS),
            wants_stop_sequence="/stop_sequence" in body.get("additionalModelResponseFieldPaths", ()),
            schema=json.loads(text_format["structure"]["jsonSchema"]["schema"]) if text_format else None,
            said=Told(
                thinking="".join(thought["text"] for thought in thoughts),
                signature="".join(thought.get("signature", "") for thought in thoughts),
                text="".join(block["text"] for block in own if "text" in block),
                calls=tuple(
                    Call(id=call["toolUseId"], name=call["name"], arguments=call["input"])
                    for call in (block["toolUse"] for block in own if "toolUse" in block)
                ),
            ),
            results=tuple((each["toolUseId"], "".join(part["text"] for part in each["content"])) for each in results),
        )


def _citations(told: Told) -> list[Json]:
    return [
        {"title": title, "location": {"web": {"url": url}}, "sourceContent": [{"text": "words"}]}
        for url, title in told.sources
    ]


def _end(told: Told) -> Json:
    if not told.stop_sequence:
        return {"stopReason": _REASONS[told.finish]}
    return {
        "stopReason": "stop_sequence",
        "additionalModelResponseFields": {"stop_sequence": told.stop_sequence},
    }


def _frame(name: str, **payload: Any) -> bytes:
    """One frame of Amazon's event streams: lengths and their check sum, headers, payload, and the check sum of all."""
    is_exception = name.endswith("Exception")
    headers = b"".join(
        bytes([len(key)]) + key + b"\x07" + struct.pack(">H", len(value)) + value
        for key, value in (
            (b":exception-type" if is_exception else b":event-type", name.encode()),
            (b":content-type", b"application/json"),
            (b":message-type", b"exception" if is_exception else b"event"),
        )
    )
    data = json.dumps(payload).encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(data), len(headers))
    frame = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + data
    return frame + struct.pack(">I", zlib.crc32(frame))
