"""OpenAI's responses at both ends of a node: items instead of messages, and streams of typed events."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any

from tests.conformance.dialect_backends import SECRET, Seen, halves, parts_of, pictures_of, provider_service
from tests.conformance.dialect_openai import OpenAIBackend, OpenAIClient, files_of, read_token, token_fields
from tests.conformance.dialects import (
    CHOICES,
    TOOL_PARAMETERS,
    TOOLS,
    UPSTREAM_MODEL,
    Ask,
    Call,
    HttpClient,
    Json,
    Reply,
    Told,
    data_url,
    given,
    read_data_url,
    settings_in,
    sse_events,
)
from tests.support.http_wire import ReceivedRequest

SETTINGS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "limit of tokens": "max_output_tokens",
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
        "PDF",
        "PDF by address",
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
_LOGPROBS = "message.output_text.logprobs"
_ENDS = ("response.completed", "response.incomplete")


class ResponsesClient(HttpClient):
    """OpenAI's responses. Nothing is to be stored, so thoughts come back encrypted."""

    name = "responses"
    kinds = OpenAIClient.kinds
    has = HAS | {"marks to cache"}
    settings = SETTINGS
    own_field = ("max_tool_calls", 3)

    def path(self, model: str, *, streamed: bool) -> str:
        return "/v1/responses"

    def body(self, ask: Ask, *, streamed: bool) -> Json:
        mark = {"prompt_cache_breakpoint": {"mode": "explicit"}} if ask.caches else {}
        question: list[Json] = [{"type": "input_text", "text": ask.text, **mark}, *self.media(ask)]
        items: list[Json] = [{"type": "message", "role": "user", "content": question}]
        if ask.before is not None:
            items += self.turn(ask.before)
            items += [
                {"type": "function_call_output", "call_id": call.id, "output": ask.result} for call in ask.before.calls
            ] or [{"type": "message", "role": "user", "content": "and now?"}]
        functions = [{"name": name, "parameters": TOOL_PARAMETERS} for name in ask.tools]
        named = {"type": "function", "name": ask.choice}
        return given(
            model=ask.model,
            instructions=ask.system or None,
            input=items,
            tools=[{"type": "function", **function} for function in functions] or None,
            tool_choice=named if ask.choice in ask.tools else ask.choice or None,
            parallel_tool_calls=False if ask.one_call else None,
            reasoning={"effort": "low", "summary": "auto"} if ask.thinks else None,
            include=[_LOGPROBS] if ask.logprobs is not None else None,
            top_logprobs=ask.logprobs or None,
            text=self.form(ask),
            store=False,
            stream=streamed or None,
        )

    def media(self, ask: Ask) -> list[Json]:
        """What a question brings along."""
        pictures = [ask.image_url, data_url("image/png", ask.image) if ask.image else ""]
        parts: list[Json] = [{"type": "input_image", "image_url": url, "detail": "auto"} for url in pictures if url]
        for name, url in files_of(ask):
            parts.append({"type": "input_file", "filename": name, "file_data": url})
        if ask.pdf_url:
            parts.append({"type": "input_file", "file_url": ask.pdf_url})
        return parts

    def form(self, ask: Ask) -> Json | None:
        """The form of the answer."""
        if ask.schema is not None:
            return {"format": {"type": "json_schema", "name": "answer", "schema": ask.schema}}
        return {"format": {"type": "json_object"}} if ask.is_json else None

    def turn(self, told: Told) -> list[Json]:
        """A turn of the model."""
        items: list[Json] = []
        if told.thinking:
            summary = [{"type": "summary_text", "text": told.thinking}]
            items.append(given(type="reasoning", summary=summary, encrypted_content=told.signature or None))
        if told.text:
            content = [{"type": "output_text", "text": told.text, "annotations": []}]
            items.append({"type": "message", "role": "assistant", "content": content})
        for call in told.calls:
            arguments = json.dumps(dict(call.arguments))
            items.append({"type": "function_call", "call_id": call.id, "name": call.name, "arguments": arguments})
        return items

    def read_whole(self, body: Json) -> Reply:
        assert body["object"] == "response"
        assert body["status"] in ("completed", "incomplete")
        return Reply(models=frozenset({body["model"]}), told=self._told(body["output"], body))

    def _told(self, items: Sequence[Json], end: Json) -> Told:
        of = {kind: [item for item in items if item["type"] == kind] for kind in ("reasoning", "message")}
        parts = [part for item in of["message"] for part in item["content"]]
        texts = [part for part in parts if part["type"] == "output_text"]
        calls = tuple(
            Call(id=item["call_id"], name=item["name"], arguments=json.loads(item["arguments"]))
            for item in items
            if item["type"] == "function_call"
        )
        usage = end["usage"]
        return Told(
            thinking="".join(part["text"] for item in of["reasoning"] for part in item["summary"]),
            signature="".join(item.get("encrypted_content") or "" for item in of["reasoning"]),
            text="".join(part["text"] for part in texts),
            refusal="".join(part["refusal"] for part in parts if part["type"] == "refusal"),
            calls=calls,
            sources=tuple((source["url"], source["title"]) for part in texts for source in part["annotations"]),
            tokens=tuple(read_token(token) for part in texts for token in part["logprobs"]),
            finish=_finish(end, has_calls=bool(calls)),
            usage=(
                usage["input_tokens"],
                usage["input_tokens_details"]["cached_tokens"],
                usage["output_tokens"],
            ),
            thought_tokens=usage["output_tokens_details"]["reasoning_tokens"],
        )

    def read_stream(self, data: bytes) -> Reply:
        events = sse_events(data)
        told = [json.loads(text) for name, text in events if name != "error"]
        assert [event["type"] for event in told] == [name for name, _ in events if name != "error"]
        assert [event["sequence_number"] for event in told] == list(range(len(told)))
        if events[-1][0] == "error":
            failed = self.read_error(json.loads(events[-1][1]))
            assert not any(event["type"] in _ENDS for event in told)
            return replace(failed, told=Told(text=_deltas(told, "output_text")))
        last = told[-1]
        reply = self.read_whole(last["response"])
        done = [event for event in told if event["type"] == "response.output_item.done"]
        items = [event["item"] for event in sorted(done, key=lambda event: event["output_index"])]
        assert last["response"]["output"] == items
        assert reply.told.text == _deltas(told, "output_text")
        assert reply.told.refusal == _deltas(told, "refusal")
        assert reply.told.thinking == _deltas(told, "reasoning_summary_text")
        return replace(reply, is_ended=last["type"] in _ENDS and told[0]["type"] == "response.created")

    def read_error(self, body: Json) -> Reply:
        return OpenAIClient().read_error(body) if "error" in body else Reply(error=body["message"])


def _finish(end: Json, *, has_calls: bool) -> str:
    if end["status"] == "incomplete":
        reason: str = end["incomplete_details"]["reason"]
        return {"max_output_tokens": "length"}.get(reason, reason)
    return "tool_calls" if has_calls else "stop"


def _deltas(events: Sequence[Any], kind: str) -> str:
    return "".join(event["delta"] for event in events if event["type"] == f"response.{kind}.delta")


class ResponsesBackend(OpenAIBackend):
    """A provider of responses that has no chat completions beside them, so that all clients are translated to them."""

    name = "responses"
    credential = ("authorization", f"Bearer {SECRET}")
    has = HAS
    own = frozenset({"marks to cache"})

    def path(self, *, streamed: bool) -> str:
        return "/v1/responses"

    def service(self, address: str) -> Mapping[str, Any]:
        return provider_service("perplexity", address)

    def whole(self, told: Told) -> Json:
        reasons = {"length": "max_output_tokens", "content_filter": "content_filter"}
        is_cut = told.finish in reasons
        read, cached, written = told.usage
        return {
            **self._head("incomplete" if is_cut else "completed"),
            "incomplete_details": {"reason": reasons[told.finish]} if is_cut else None,
            "output": self._items(told),
            "usage": {
                "input_tokens": read,
                "input_tokens_details": {"cached_tokens": cached},
                "output_tokens": written,
                "output_tokens_details": {"reasoning_tokens": told.thought_tokens},
                "total_tokens": read + written,
            },
        }

    def _head(self, status: str) -> Json:
        return {"id": "resp_1", "object": "response", "created_at": 1, "model": UPSTREAM_MODEL, "status": status}

    def _items(self, told: Told) -> list[Json]:
        items: list[Json] = []
        if told.thinking:
            summary = [{"type": "summary_text", "text": told.thinking}]
            items.append({"type": "reasoning", "summary": summary, "encrypted_content": told.signature})
        cited = {"type": "url_citation", "start_index": 0, "end_index": len(told.text)}
        annotations = [{**cited, "url": url, "title": title} for url, title in told.sources]
        logprobs = [token_fields(token) for token in told.tokens]
        content: list[Json] = []
        if told.text:
            content.append({"type": "output_text", "text": told.text, "annotations": annotations, "logprobs": logprobs})
        if told.refusal:
            content.append({"type": "refusal", "refusal": told.refusal})
        if content:
            items.append({"type": "message", "role": "assistant", "status": "completed", "content": content})
        for call in told.calls:
            arguments = json.dumps(dict(call.arguments))
            items.append({"type": "function_call", "call_id": call.id, "name": call.name, "arguments": arguments})
        return [{"id": f"item_{number}", **item} for number, item in enumerate(items)]

    def pieces(self, told: Told) -> list[bytes]:
        events: list[Json] = [{"type": "response.created", "response": {**self._head("in_progress"), "output": []}}]
        for number, item in enumerate(self._items(told)):
            place = {"output_index": number, "item_id": item["id"]}
            events.append({"type": "response.output_item.added", "output_index": number, "item": _begun(item)})
            events += ({**place, **delta} for delta in _item_deltas(item))
            events.append({"type": "response.output_item.done", "output_index": number, "item": item})
        last = self.whole(told)
        events.append({"type": f"response.{last['status']}", "response": last})
        return [_named({**event, "sequence_number": number}) for number, event in enumerate(events)]

    def end_pieces(self) -> int:
        return 1

    def error_piece(self, message: str) -> bytes:
        return _named({"type": "error", "code": "server_error", "message": message, "param": None})

    def read(self, request: ReceivedRequest) -> Seen:
        body = request.json()
        of: dict[str, list[Json]] = {}
        for item in body["input"]:
            of.setdefault(item["type"], []).append(item)
        by_role = {role: [item for item in of["message"] if item["role"] == role] for role in ("user", "assistant")}
        asked = [part for item in by_role["user"] for part in parts_of(item["content"])]
        files = [part for part in asked if part["type"] == "input_file"]
        thoughts = of.get("reasoning", [])
        choice = body.get("tool_choice", "")
        wanted: Json = body.get("text", {}).get("format", {})
        return Seen(
            model=body["model"],
            is_streaming=self.is_streaming(request),
            system=body.get("instructions", ""),
            texts=tuple(part["text"] for part in asked if part["type"] in ("text", "input_text")),
            images=pictures_of(part["image_url"] for part in asked if part["type"] == "input_image"),
            files=tuple(
                (file.get("filename", ""), *read_data_url(file["file_data"])) for file in files if "file_data" in file
            ),
            file_urls=tuple(file["file_url"] for file in files if "file_url" in file),
            caches=any("prompt_cache_breakpoint" in part for part in asked),
            tools={tool["name"]: tool["parameters"] for tool in body.get("tools", ())},
            choice=choice["name"] if isinstance(choice, dict) else choice.replace("auto", ""),
            one_call=body.get("parallel_tool_calls") is False,
            thinks="reasoning" in body,
            schema=wanted.get("schema"),
            is_json=wanted.get("type") == "json_object",
            logprobs=body.get("top_logprobs", 0) if _LOGPROBS in body.get("include", ()) else None,
            said=Told(
                thinking="".join(part["text"] for item in thoughts for part in item["summary"]),
                signature="".join(item.get("encrypted_content", "") for item in thoughts),
                text="".join(part["text"] for item in by_role["assistant"] for part in parts_of(item["content"])),
                calls=tuple(
                    Call(id=item["call_id"], name=item["name"], arguments=json.loads(item["arguments"]))
                    for item in of.get("function_call", ())
                ),
            ),
            results=tuple((item["call_id"], item["output"]) for item in of.get("function_call_output", ())),
            settings=settings_in(body, SETTINGS),
        )


def _begun(item: Json) -> Json:
    """An item of which nothing has been told yet."""
    empty: Json = {"summary": [], "content": [], "arguments": ""}
    return {name: empty.get(name, value) for name, value in item.items()}


def _item_deltas(item: Json) -> list[Json]:
    """The events that tell an item piece by piece."""
    match item["type"]:
        case "reasoning":
            kind = {"type": "response.reasoning_summary_text.delta", "summary_index": 0}
            return [{**kind, "delta": half} for part in item["summary"] for half in halves(part["text"])]
        case "function_call":
            kind = {"type": "response.function_call_arguments.delta"}
            return [{**kind, "delta": half} for half in halves(item["arguments"])]
    deltas: list[Json] = []
    for number, part in enumerate(item["content"]):
        if part["type"] == "refusal":
            deltas += ({"type": "response.refusal.delta", "delta": half} for half in halves(part["refusal"]))
            continue
        for half, logprob in zip_longest(halves(part["text"]), part["logprobs"]):
            logprobs = [logprob] if logprob else []
            deltas.append({"type": "response.output_text.delta", "delta": half, "logprobs": logprobs})
        kind = {"type": "response.output_text.annotation.added"}
        deltas += ({**kind, "annotation": each, "annotation_index": n} for n, each in enumerate(part["annotations"]))
        deltas = [{**delta, "content_index": number} for delta in deltas]
    return deltas


def _named(event: Json) -> bytes:
    """One of the events."""
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
