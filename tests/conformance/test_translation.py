"""Every dialect of clients before every dialect of backends: what survives the way there and back."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.dialect_backends import (
    SECRET,
    Backend,
    answering,
    breaking,
    configuration,
    failing,
    stopping_short,
    waiting,
)
from tests.conformance.dialect_table import BACKENDS, CLIENTS
from tests.conformance.dialects import (
    IMAGE,
    MODEL,
    TOOL_PARAMETERS,
    UPSTREAM_MODEL,
    Ask,
    Call,
    Client,
    Node,
    Reply,
    Told,
)
from tests.conformance.gateway import Gateway
from tests.support.faulty_upstream import FaultyUpstream

HELLO = Told(text="hello there")
CALLS = Told(calls=(Call(),), finish="tool_calls")
SIGNATURE = "c2lnbmF0dXJl"  # Gemini's are base64
THOUGHT = Told(thinking="They greet me.", signature=SIGNATURE, text="hello there")


@pytest.fixture(params=CLIENTS, ids=lambda client: f"from-{client.name}")
def client(request: pytest.FixtureRequest) -> Client:
    """A client of each dialect."""
    found: Client = request.param
    return found


@pytest.fixture(params=BACKENDS, ids=lambda backend: f"to-{backend.name}")
def backend(request: pytest.FixtureRequest) -> Backend:
    """A backend of each dialect."""
    found: Backend = request.param
    return found


@pytest.fixture
async def world(gateway: Gateway, upstream: FaultyUpstream, backend: Backend, tmp_path: Path) -> "World":
    """The node before that backend."""
    world = World(gateway, upstream, backend, tmp_path / "key")
    await world.configure()
    return world


class World:
    """A node, the backend behind it, and the secret between them."""

    def __init__(self, gateway: Gateway, upstream: FaultyUpstream, backend: Backend, key: Path) -> None:
        self.upstream = upstream
        self._gateway = gateway
        self._backend = backend
        self._key = key

    async def configure(self, **service: Any) -> None:
        """One service, with these fields."""
        self._key.write_text(SECRET, "utf-8")
        await self._gateway.apply(configuration(self._backend, self.upstream.address, self._key, **service))


def is_success(reply: Reply) -> bool:
    """Whether the client has a whole answer, and no error."""
    return reply.status in ("200", "OK") and reply.error is None and reply.is_ended


def without_ids(told: Told) -> Told:
    """The same without the ids of calls, which not all dialects have."""
    return replace(told, calls=tuple(replace(call, id="") for call in told.calls))


@pytest.mark.feature("text")
async def test_text(client: Client, backend: Backend, inference_node: Node, world: World, streamed: bool) -> None:
    """Field failure: usage of a streamed answer missing."""
    world.upstream.script = answering(backend, HELLO)
    reply = await client.ask(inference_node, Ask(), streamed=streamed)
    assert is_success(reply), reply
    assert reply.told == HELLO
    (request,) = world.upstream.requests
    assert request.target == backend.path(streamed=streamed)
    assert request.header("accept") == (backend.stream_type if streamed else "application/json")
    seen = backend.read(request)
    assert (seen.texts, seen.is_streaming) == (("hello",), streamed)


@pytest.mark.feature("text at once")
async def test_text_is_passed_on_as_it_comes(
    client: Client, backend: Backend, inference_node: Node, world: World
) -> None:
    gate = asyncio.Event()
    world.upstream.script = waiting(backend, HELLO, gate)
    async with asyncio.timeout(20):
        await client.first_words(inference_node, Ask(), until="hello")
        await world.upstream.wait_for_disconnects(1)
    assert not gate.is_set()


@pytest.mark.feature("model renamed")
async def test_model_has_the_name_that_each_side_gives_it(
    client: Client, backend: Backend, inference_node: Node, world: World, streamed: bool
) -> None:
    world.upstream.script = answering(backend, HELLO)
    reply = await client.ask(inference_node, Ask(), streamed=streamed)
    assert reply.models == ({MODEL} if client.names_model else set())
    assert backend.read(world.upstream.requests[0]).model == UPSTREAM_MODEL


@pytest.mark.feature("system prompt")
async def test_system_prompt(
    client: Client, backend: Backend, inference_node: Node, world: World, streamed: bool
) -> None:
    world.upstream.script = answering(backend, HELLO)
    assert is_success(await client.ask(inference_node, Ask(system="Be short."), streamed=streamed))
    seen = backend.read(world.upstream.requests[0])
    assert (seen.system, seen.texts) == ("Be short.", ("hello",))


@pytest.mark.feature("image")
async def test_image(client: Client, backend: Backend, inference_node: Node, world: World, streamed: bool) -> None:
    world.upstream.script = answering(backend, HELLO)
    assert is_success(await client.ask(inference_node, Ask(image=IMAGE), streamed=streamed))
    seen = backend.read(world.upstream.requests[0])
    assert (seen.texts, seen.images) == (("hello",), (IMAGE,))


@pytest.mark.feature("JSON schema")
async def test_schema_of_the_answer(
    client: Client, backend: Backend, inference_node: Node, world: World, streamed: bool
) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    told = Told(text='{"city": "Oslo"}')
    world.upstream.script = answering(backend, told)
    reply = await client.ask(inference_node, Ask(schema=schema), streamed=streamed)
    assert reply.told == told
    assert backend.read(world.upstream.requests[0]).schema == schema


@pytest.mark.feature("tool call")
async def test_tool_call(client: Client, backend: Backend, inference_node: Node, world: World, streamed: bool) -> None:
    world.upstream.script = answering(backend, CALLS)
    reply = await client.ask(inference_node, Ask(has_tool=True), streamed=streamed)
    assert is_success(reply), reply
    assert without_ids(reply.told) == without_ids(CALLS)
    assert backend.read(world.upstream.requests[0]).tools == {"weather": TOOL_PARAMETERS}


@pytest.mark.feature("parallel tool calls")
async def test_parallel_tool_calls(
    client: Client, backend: Backend, inference_node: Node, world: World, streamed: bool
) -> None:
    second = Call(id="call_2", arguments={"city": "Rome"})
    told = Told(text="I look.", calls=(Call(), second), finish="tool_calls")
    world.upstream.script = answering(backend, told)
    reply = await client.ask(inference_node, Ask(has_tool=True), streamed=streamed)
    assert is_success(reply), reply
    assert without_ids(reply.told) == without_ids(told)
    if reply.told.calls[0].id:
        assert len({call.id for call in reply.told.calls}) == 2


@pytest.mark.feature("tool result")
async def test_result_of_a_call_in_the_next_turn(
    client: Client, backend: Backend, inference_node: Node, world: World, streamed: bool
) -> None:
    world.upstream.script = answering(backend, CALLS)
    first = await client.ask(inference_node, Ask(has_tool=True), streamed=streamed)
    world.upstream.script = answering(backend, HELLO)
    ask = Ask(has_tool=True, before=first.told, result="12 °C")
    assert is_success(await client.ask(inference_node, ask, streamed=streamed))

    seen = backend.read(world.upstream.requests[1])
    (call,) = seen.said.calls
    assert (call.name, call.arguments) == ("weather", {"city": "Oslo"})
    ((answered, text),) = seen.results
    assert text == "12 °C"
    assert answered in (call.id, "weather")


@pytest.mark.feature("thinking")
async def test_thinking(client: Client, backend: Backend, inference_node: Node, world: World, streamed: bool) -> None:
    world.upstream.script = answering(backend, THOUGHT)
    reply = await client.ask(inference_node, Ask(thinks=True), streamed=streamed)
    assert is_success(reply), reply
    assert (reply.told.thinking, reply.told.text) == (THOUGHT.thinking, THOUGHT.text)


SIGNED = [
    pytest.param(client, backend, id=f"{client.name}-{backend.name}")
    for client in CLIENTS
    for backend in BACKENDS
    if client.keeps_signatures and backend.keeps_signatures
]


@pytest.mark.feature("thinking replayed")
@pytest.mark.parametrize(("client", "backend"), SIGNED, indirect=True)
async def test_signed_thought_goes_back_to_the_backend_that_had_it(
    client: Client, backend: Backend, inference_node: Node, world: World, streamed: bool
) -> None:
    """Field failure: reasoning signatures not replayed, and the next turn is rejected."""
    world.upstream.script = answering(backend, THOUGHT)
    first = await client.ask(inference_node, Ask(thinks=True), streamed=streamed)
    assert is_success(await client.ask(inference_node, Ask(thinks=True, before=first.told), streamed=streamed))
    said = backend.read(world.upstream.requests[1]).said
    assert (said.signature, said.text) == (SIGNATURE, THOUGHT.text)
    assert said.thinking == THOUGHT.thinking


COUNTING = [
    pytest.param(client, backend, id=f"{client.name}-{backend.name}")
    for client in CLIENTS
    for backend in BACKENDS
    if client.counts_cached and backend.counts_cached
]


@pytest.mark.feature("cached tokens")
@pytest.mark.parametrize(("client", "backend"), COUNTING, indirect=True)
async def test_cached_tokens_are_part_of_what_was_read(
    client: Client, backend: Backend, inference_node: Node, world: World, streamed: bool
) -> None:
    """Field failure: cached tokens counted twice or not at all."""
    told = replace(HELLO, usage=(100, 80, 7))
    world.upstream.script = answering(backend, told)
    reply = await client.ask(inference_node, Ask(), streamed=streamed)
    assert reply.told == told


@pytest.mark.feature("stop by length")
async def test_answer_that_is_too_long(
    client: Client, backend: Backend, inference_node: Node, world: World, streamed: bool
) -> None:
    told = replace(HELLO, finish="length")
    world.upstream.script = answering(backend, told)
    reply = await client.ask(inference_node, Ask(), streamed=streamed)
    assert is_success(reply), reply
    assert reply.told == told


@pytest.mark.feature("credentials and headers")
async def test_what_a_backend_learns_of_the_caller(
    client: Client, backend: Backend, inference_node: Node, world: World, streamed: bool
) -> None:
    world.upstream.script = answering(backend, HELLO)
    assert is_success(await client.ask(inference_node, Ask(), streamed=streamed, key="sk-of-the-caller"))
    (request,) = world.upstream.requests
    assert "sk-of-the-caller" not in str(request)
    names = {"authorization", "x-api-key", "api-key", "x-goog-api-key"}
    credentials = [(name.lower(), value) for name, value in request.headers if name.lower() in names]
    assert credentials == ([backend.credential] if backend.credential else [])
    assert request.header("anthropic-version") == ("2023-06-01" if backend.name == "anthropic" else None)
    is_same = client.name == backend.name
    assert request.header("anthropic-beta") == ("some-beta" if is_same and client.name == "anthropic" else None)


@pytest.mark.feature("errors by class")
@pytest.mark.parametrize(
    ("status", "shown"),
    [(400, 400), (401, 502), (404, 404), (413, 413), (429, 429), (500, 502), (503, 503), (504, 504)],
)
async def test_error_before_content(
    client: Client, backend: Backend, inference_node: Node, world: World, streamed: bool, status: int, shown: int
) -> None:
    headers = [("retry-after", "3")]
    world.upstream.script = failing(backend, status, "the model says no", headers=headers)
    reply = await client.ask(inference_node, Ask(), streamed=streamed)
    if client.name == backend.name and status in (400, 404, 413):  # as the backend wrote it
        assert reply.status == str(status)
    else:
        assert reply.status in (str(shown), client.kinds[shown])
        assert reply.kind == client.kinds[shown]
    assert reply.error is not None
    assert ("the model says no" in reply.error) is (status != 401)
    if status == 429:
        assert reply.headers["retry-after"] == "3"


@pytest.mark.feature("overload retried")
async def test_overload_is_retried_unseen(
    client: Client, backend: Backend, inference_node: Node, world: World, streamed: bool
) -> None:
    policy = {"num_retries": 1, "retry_on": ["OVERLOADED"], "retry_back_off": {"base_interval": "0.001s"}}
    await world.configure(retry_policy=policy)
    overloaded = failing(backend, 529, "the model is overloaded", kind="overloaded")
    world.upstream.next.append(overloaded)
    world.upstream.script = answering(backend, HELLO)
    reply = await client.ask(inference_node, Ask(), streamed=streamed)
    assert is_success(reply), reply
    assert reply.told == HELLO
    assert len(world.upstream.requests) == 2


@pytest.mark.feature("error amid a stream")
async def test_error_after_content_is_the_last_event(
    client: Client, backend: Backend, inference_node: Node, world: World
) -> None:
    world.upstream.script = breaking(backend, HELLO, "the model crashed")
    reply = await client.ask(inference_node, Ask(), streamed=True)
    assert reply.told.text == "hello there"
    assert reply.error is not None
    assert "the model crashed" in reply.error
    assert reply.status == (client.event_status or client.kinds[502])
    assert len(world.upstream.requests) == 1


@pytest.mark.feature("stream cut off")
async def test_stream_that_is_cut_off_never_ends_well(
    client: Client, backend: Backend, inference_node: Node, world: World
) -> None:
    world.upstream.script = stopping_short(backend, HELLO)
    reply = await client.ask(inference_node, Ask(), streamed=True)
    assert reply.told.text == "hello there"
    assert reply.error is not None
    assert "cut off" in reply.error
    assert reply.status == (client.event_status or client.kinds[502])


LACKING = [
    pytest.param(client, backend, ask, field, id=f"{client.name}-{backend.name}-{field}")
    for client in CLIENTS
    for backend in BACKENDS
    for field, ask in (("seed", Ask(seed=7)), ("user", Ask(user="alice")))
    if field in client.fields & backend.lacks
]
OWN = [
    pytest.param(client, backend, Ask(has_own=True), client.own_field[0], id=f"{client.name}-{backend.name}-own")
    for client in CLIENTS
    for backend in BACKENDS
    if client.own_field is not None and client.name != backend.name
]


@pytest.mark.feature("unsupported fields")
@pytest.mark.parametrize(("client", "backend", "ask", "field"), LACKING + OWN, indirect=["client", "backend"])
async def test_field_that_the_backend_lacks_is_refused_by_name_or_left_out(
    client: Client, backend: Backend, ask: Ask, field: str, inference_node: Node, world: World, streamed: bool
) -> None:
    world.upstream.script = answering(backend, HELLO)
    reply = await client.ask(inference_node, ask, streamed=streamed)
    assert reply.status in ("400", "INVALID_ARGUMENT")
    assert reply.error is not None
    assert field in reply.error
    assert world.upstream.requests == []

    await world.configure(unsupported_fields="DROP")
    assert is_success(await client.ask(inference_node, ask, streamed=streamed))
    assert field not in world.upstream.requests[0].json()


@pytest.mark.parametrize("client", [client for client in CLIENTS if client.own_field], ids=lambda client: client.name)
async def test_field_that_only_one_dialect_has_reaches_a_backend_that_speaks_it(
    client: Client, inference_node: Node, gateway: Gateway, upstream: FaultyUpstream, tmp_path: Path, streamed: bool
) -> None:
    (backend,) = (backend for backend in BACKENDS if backend.name == client.name)
    await World(gateway, upstream, backend, tmp_path / "key").configure()
    upstream.script = answering(backend, HELLO)
    assert is_success(await client.ask(inference_node, Ask(has_own=True), streamed=streamed))
    assert client.own_field is not None
    name, value = client.own_field
    assert upstream.requests[0].json()[name] == value
