"""Clients that are none of ours, unchanged, against a node whose backend speaks OpenAI's API: those of OpenAI and
Anthropic for Node, the AI SDK, LangChain and Pydantic AI. What one of them does, all do."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from tests.conformance.configuration import api_key, one_pool, with_keys
from tests.conformance.gateway import Gateway
from tests.conformance.obliging_model import REPORT, TOKENS, VECTOR, WEATHER, oblige
from tests.conformance.upstream_scripts import FIRST_EVENTS, MODEL, open_stream
from tests.support.client_programs import ClientProgram, node_program, python_program
from tests.support.components import require
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import json_response, response
from tests.support.scripts import answer, cut, fail

KEY = "sk-alice"


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A program, and which of the APIs that it knows it is to use; `is_node`: on Node. Some have an error for each
    status (`has_kinds`), others one for all."""

    component: str
    program: str
    variant: str
    is_node: bool = False
    has_kinds: bool = True

    @property
    def name(self) -> str:
        return f"{self.component}-{self.variant}"


CLIENTS = [
    Client(component="openai-node", program="openai_client", variant="chat", is_node=True),
    Client(component="openai-node", program="openai_client", variant="responses", is_node=True),
    Client(component="anthropic-node", program="anthropic_client", variant="anthropic", is_node=True),
    Client(component="ai-sdk", program="ai_client", variant="openai", is_node=True, has_kinds=False),
    Client(component="ai-sdk", program="ai_client", variant="openai_chat", is_node=True, has_kinds=False),
    Client(component="ai-sdk", program="ai_client", variant="anthropic", is_node=True, has_kinds=False),
    *(
        Client(
            component=component, program=f"{component.replace('-', '_')}_client", variant=variant, has_kinds=has_kinds
        )
        for component, has_kinds in (("langchain", True), ("pydantic-ai", False))
        for variant in ("openai_chat", "openai_responses", "anthropic")
    ),
]
WITH_EMBEDDINGS = ["openai-node-chat", "ai-sdk-openai_chat", "langchain-openai_chat"]

Programs = Callable[[Client], ClientProgram]
Run = Callable[..., Awaitable[Mapping[str, Any]]]


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    """Each program once, for all tests."""
    running: dict[str, ClientProgram] = {}

    def program(client: Client) -> ClientProgram:
        if client.program not in running:
            if client.is_node:
                running[client.program] = node_program(client.program, tmp_path_factory.mktemp("node"))
            else:
                running[client.program] = python_program(client.program)
        return running[client.program]

    yield program
    for each in running.values():
        each.stop()


@pytest.fixture(params=CLIENTS, ids=lambda client: client.name)
def client(request: pytest.FixtureRequest) -> Client:
    """Every client."""
    client: Client = request.param
    require(client.component)
    return client


@pytest.fixture
async def run(client: Client, programs: Programs, gateway: Gateway, upstream: FaultyUpstream) -> AsyncIterator[Run]:
    """Runs a scenario with a client of a node that serves `m`."""
    service = {"models": [{"name": "m", "upstream_name": MODEL}], "retry_policy": {"num_retries": 0}}
    await gateway.apply(with_keys(one_pool(upstream.address, service=service), api_key(KEY)))
    upstream.script = oblige

    async def scenario(name: str, *, key: str = KEY) -> Mapping[str, Any]:
        async with asyncio.timeout(30):
            url = f"http://{gateway.addresses.http}"
            return await programs(client).run(client.variant, name, url=url, key=key)

    yield scenario
    assert all(request.json()["model"] == MODEL for request in upstream.requests if request.body[:1] == b"{")


async def test_answer(run: Run) -> None:
    assert await run("answer") == {"text": "hello there", "tokens": list(TOKENS)}


async def test_stream(run: Run) -> None:
    result = await run("stream")
    assert result["text"] == "".join(result["pieces"]) == "hello there"


@pytest.mark.parametrize("scenario", ["tools", "streamed_tools"])
async def test_tools(run: Run, upstream: FaultyUpstream, scenario: str) -> None:
    assert await run(scenario) == {"calls": [["weather", WEATHER]], "text": "hello there"}
    first, second = (request.json()["messages"] for request in upstream.requests)
    called, told = second[len(first) :]
    assert called["tool_calls"][0]["id"] == told["tool_call_id"] == "call-1"
    assert (told["role"], _text(told["content"])) == ("tool", "12 degrees")


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


async def test_structured_output(run: Run) -> None:
    assert await run("structured") == {"value": REPORT}


@pytest.mark.parametrize(
    "client", [each for each in CLIENTS if each.name in WITH_EMBEDDINGS], ids=lambda client: client.name, indirect=True
)
async def test_embeddings(run: Run) -> None:
    assert await run("embeddings") == {"vectors": [list(VECTOR)]}


@pytest.mark.parametrize("scenario", ["answer", "stream"])
async def test_wrong_key(run: Run, client: Client, upstream: FaultyUpstream, scenario: str) -> None:
    error = (await run(scenario, key="sk-wrong"))["error"]
    assert error["status"] == 401
    assert not client.has_kinds or "AuthenticationError" in error["kinds"]
    assert upstream.requests == []


@pytest.mark.parametrize("scenario", ["answer", "stream"])
async def test_rate_limit(run: Run, client: Client, upstream: FaultyUpstream, scenario: str) -> None:
    upstream.script = fail(429, "slow down", headers=[("retry-after", "3")])
    error = (await run(scenario))["error"]
    assert (error["status"], error["retry_after"]) == (429, "3")
    assert "slow down" in error["message"]
    assert not client.has_kinds or "RateLimitError" in error["kinds"]


async def test_stream_that_breaks_is_an_error(run: Run, upstream: FaultyUpstream) -> None:
    begun = open_stream(FIRST_EVENTS)
    upstream.script = cut(begun, len(begun))
    assert "cut off" in (await run("stream"))["error"]["message"]


@pytest.mark.parametrize("client", CLIENTS[:1], ids=lambda client: client.name, indirect=True)
async def test_sound(run: Run, upstream: FaultyUpstream) -> None:
    upstream.script = answer(json_response(200, {"text": "hello"}))
    assert await run("transcription") == {"text": "hello"}
    (request,) = upstream.requests
    assert len(request.body) > 300_000
    assert MODEL.encode() in request.body
    upstream.script = answer(response(200, b"\x00" * 1000, content_type="audio/mpeg"))
    assert await run("speech") == {"bytes": 1000}
