"""Clients of every dialect that a node takes, down to the bytes: what each writes for the same question, and what each
reads in the answer."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import aiohttp
import grpc

Json = dict[str, Any]

MODEL = "m"
"""What clients call the model."""
UPSTREAM_MODEL = "their-claude"
"""What backends call it. Bedrock has no way to ask models to think that have another name."""

IMAGE = base64.b64encode(b"\x89PNG\r\n\x1a\nand so on").decode()
SOUND = base64.b64encode(b"RIFF....WAVE").decode()
PDF = base64.b64encode(b"%PDF-1.7 and so on").decode()
PDF_NAME, TEXT_NAME = "paper", "notes"
"""What the documents are called that a question brings along."""
TOOL_PARAMETERS: Json = {"type": "object", "properties": {"city": {"type": "string"}}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A function call."""

    id: str = "call_1"
    name: str = "weather"
    arguments: Mapping[str, Any] = field(default_factory=lambda: {"city": "Oslo"})


@dataclass(frozen=True, slots=True)
class Token:
    """A token, the natural logarithm of its probability, and the same of those that could have stood there."""

    text: str
    logprob: float
    others: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a model says in one turn.

    `finish` is `stop`, `length`, `tool_calls` or `content_filter`; `usage` is what was read, the part of it that was
    cached, and what was written, of which `thought_tokens` are a part. `others` are the texts of further alternatives,
    `sources` are addresses with their titles.
    """

    thinking: str = ""
    signature: str = ""
    text: str = ""
    refusal: str = ""
    calls: tuple[Call, ...] = ()
    sources: tuple[tuple[str, str], ...] = ()
    tokens: tuple[Token, ...] = ()
    others: tuple[str, ...] = ()
    finish: str = "stop"
    stop_sequence: str = ""
    usage: tuple[int, int, int] = (9, 0, 4)
    thought_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A question: `before` is what the model has said in the turn before, and `result` what its calls gave.

    Pictures, sound and documents are base64, `document` is text. `choice` is `required`, `none` or the function that
    must be called; with `one_call` there may be no second one. With `caches` the text is marked as worth caching, with
    `failed` the calls have given an error. `logprobs` asks for the probabilities of tokens, and of
    so many others at each place. `settings` are by the names that `Client.settings` has; `has_own` asks for what no
    other dialect has.
    """

    model: str = MODEL
    text: str = "hello"
    system: str = ""
    image: str = ""
    image_url: str = ""
    audio: str = ""
    pdf: str = ""
    pdf_url: str = ""
    document: str = ""
    caches: bool = False
    tools: tuple[str, ...] = ()
    choice: str = ""
    one_call: bool = False
    thinks: bool = False
    schema: Json | None = None
    is_json: bool = False
    logprobs: int | None = None
    before: Told | None = None
    result: str = ""
    failed: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    has_own: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a client reads. `status` is that of HTTP or gRPC, `error` the text of an error, `kind` its class in the
    dialect; `is_ended` says that the answer ended as the dialect's answers do."""

    status: str = "200"
    headers: Mapping[str, str] = field(default_factory=dict)
    models: frozenset[str] = frozenset()
    told: Told = field(default_factory=Told)
    error: str | None = None
    kind: str = ""
    is_ended: bool = True


class Client(Protocol):
    """A client of one dialect. `kinds` are its names of errors, by status of HTTP."""

    @property
    def name(self) -> str: ...

    @property
    def kinds(self) -> Mapping[int, str]: ...

    @property
    def event_status(self) -> str:
        """The status that a client sees whose answer fails after it has begun."""

    @property
    def names_model(self) -> bool:
        """Whether answers name the model."""

    @property
    def has(self) -> frozenset[str]:
        """What the dialect has of what not all have: rows of docs/conformance.md."""

    @property
    def own_field(self) -> tuple[str, Any] | None:
        """A field that no other dialect has, and a value for it."""

    async def ask(self, node: "Node", ask: Ask, *, streamed: bool, key: str = "") -> Reply:
        """Asks the node."""

    async def first_words(self, node: "Node", ask: Ask, until: str) -> None:
        """Asks for a stream and leaves once it has brought this text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node to ask."""

    http: str
    session: aiohttp.ClientSession
    channel: grpc.aio.Channel


class HttpClient:
    """What clients over HTTP have in common."""

    name: str
    kinds: Mapping[int, str]
    event_status = "200"
    names_model = True
    has: frozenset[str]
    settings: Mapping[str, str]
    """Where the settings of `Ask` stand in a body, with dots between the names."""
    own_field: tuple[str, Any] | None

    async def ask(self, node: Node, ask: Ask, *, streamed: bool, key: str = "") -> Reply:
        """Posts the question and reads all that comes."""
        url = f"http://{node.http}{self.path(ask.model, streamed=streamed)}"
        body = self.body(ask, streamed=streamed)
        for name, value in ask.settings.items():
            put(body, self.settings[name], value)
        if ask.has_own and self.own_field is not None:
            name, value = self.own_field
            body[name] = value
        async with node.session.post(url, json=body, headers=self.key(key)) as response:
            data, headers = await response.read(), {name.lower(): value for name, value in response.headers.items()}
            content_type = response.content_type
        if response.status != 200:
            assert content_type == "application/json"
            return replace(self.read_error(json.loads(data)), status=str(response.status), headers=headers)
        assert content_type == (self.stream_type if streamed else "application/json")
        return replace(self.read_stream(data) if streamed else self.read_whole(json.loads(data)), headers=headers)

    async def first_words(self, node: Node, ask: Ask, until: str) -> None:
        """Posts the question and reads until the text has come."""
        url = f"http://{node.http}{self.path(ask.model, streamed=True)}"
        async with node.session.post(url, json=self.body(ask, streamed=True), headers=self.key("")) as response:
            data = b""
            while until.encode() not in data:
                more = await response.content.readany()
                assert more, data
                data += more
            response.close()

    stream_type = "text/event-stream"

    def path(self, model: str, *, streamed: bool) -> str:
        raise NotImplementedError

    def key(self, key: str) -> Mapping[str, str]:
        """The header that carries a key."""
        return {"authorization": f"Bearer {key}"} if key else {}

    def body(self, ask: Ask, *, streamed: bool) -> Json:
        raise NotImplementedError

    def read_whole(self, body: Json) -> Reply:
        raise NotImplementedError

    def read_stream(self, data: bytes) -> Reply:
        raise NotImplementedError

    def read_error(self, body: Json) -> Reply:
        raise NotImplementedError


TOOLS = frozenset({"tool call", "tool result", "parallel tool calls"})
CHOICES = frozenset({"tool choice: required", "tool choice: none", "tool choice: one function"})


def openai_function(call: Call) -> Json:
    """A function call as OpenAI writes it."""
    return {"name": call.name, "arguments": json.dumps(dict(call.arguments))}


def data_url(media_type: str, data: str) -> str:
    """The address of data in base64."""
    return f"data:{media_type};base64,{data}"


def read_data_url(url: str) -> tuple[str, str]:
    """The media type in such an address, and its data."""
    head, _, data = url.partition(",")
    return head.removeprefix("data:").removesuffix(";base64"), data


def base64_of(text: str) -> str:
    """A text as the data of a document."""
    return base64.b64encode(text.encode()).decode()


def put(body: Json, path: str, value: Any) -> None:
    """Puts a value into objects within each other, whose names have dots between."""
    *outer, name = path.split(".")
    for each in outer:
        body = body.setdefault(each, {})
    body[name] = value


def settings_in(body: Json, settings: Mapping[str, str]) -> Json:
    """The settings that stand in a body, by the names of `Ask.settings`."""
    found: Json = {}
    for name, path in settings.items():
        value: Any = body
        for each in path.split("."):
            value = value.get(each, {})
        if value != {}:
            found[name] = value
    return found


def given(**fields: Any) -> Json:
    """The fields that have a value."""
    return {name: value for name, value in fields.items() if value is not None}


def sse_events(data: bytes) -> list[tuple[str, str]]:
    """Server-sent events as (type, data)."""
    events = []
    for block in data.decode().replace("\r\n", "\n").split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line and not line.startswith(":"))
        if "data" in lines:
            events.append((lines.get("event", ""), lines["data"]))
    return events
