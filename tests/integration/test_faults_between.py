"""Faults between a node and real model servers: unseen by clients while they can be, an explicit error from the first
content on, and explained by `/endpoints` in either case."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from janua_client.demo.llama_server import MODEL as LLAMA
from janua_client.processes import Child

from tests.integration.configuration import KEY, admin, ask, pool
from tests.support.fault_proxy import FaultProxy
from tests.support.faults import Cut, Fault, Garbage, Reset, Slow, Stall
from tests.support.polling import eventually
from tests.support.processes import EchoFactory, Node, NodeFactory


def patience(fault: Fault) -> str:
    """How long to wait for bytes: briefly where the fault is that none come, else longer than a busy machine takes."""
    return "1s" if isinstance(fault, Stall | Slow) else "10s"


def retry_policy(fault: Fault) -> dict[str, Any]:
    return {
        "num_retries": 2,
        "retry_on": ["CONNECT_FAILURE", "RESET", "GATEWAY_ERROR", "TIMEOUT"],
        "per_try_timeout": patience(fault),
    }


EJECTION: dict[str, Any] = {"health_checks": [], "outlier_detection": {"interval": "0.1s", "base_ejection_time": "1s"}}

Between = Callable[[str], Coroutine[None, None, FaultProxy]]
StartNode = Callable[[dict[str, Any]], Coroutine[None, None, Node]]


@pytest.fixture
async def between(running: AsyncExitStack) -> Between:
    """Puts a fault proxy before a server: `await between(address)`."""

    async def start(address: str) -> FaultProxy:
        proxy = FaultProxy(address)
        await proxy.start()
        running.push_async_callback(proxy.stop)
        return proxy

    return start


@pytest.fixture
def start_node(node: NodeFactory, tmp_path: Path) -> StartNode:
    """Starts a node with these resources: `await start_node(pool([…]))`."""

    async def start(resources: dict[str, Any]) -> Node:
        file = tmp_path / "janua.yaml"
        file.write_text(json.dumps(resources))
        return await node(config_file=file)

    return start


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield session


async def endpoint(session: aiohttp.ClientSession, node: Node, proxy: FaultProxy) -> dict[str, Any]:
    """What `/endpoints` tells of the endpoint behind the proxy."""
    endpoints = (await admin(session, node, "/endpoints"))["endpoints"]
    found: dict[str, Any] = next(each for each in endpoints if each["address"] == proxy.address)
    return found


async def until_health(
    session: aiohttp.ClientSession, node: Node, proxy: FaultProxy, *, healthy: bool, reason: str = ""
) -> dict[str, Any]:
    """Waits until the endpoint behind the proxy is well, or is not, perhaps for that reason. Gives what it tells."""
    told: dict[str, Any] = {}

    async def is_so() -> bool:
        nonlocal told
        told = await endpoint(session, node, proxy)
        return told["healthy"] is healthy and reason in ("", told["reason"])

    await eventually(is_so)
    return told


def told_since(told: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(told["since"])


def now() -> datetime:
    """In whole milliseconds, as the node tells times."""
    time = datetime.now(UTC)
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


async def ask_many(session: aiohttp.ClientSession, node: Node) -> None:
    """Thirty requests, ten at a time. Raises if one fails."""
    for _ in range(3):
        answers = await asyncio.gather(*(ask(session, node, "one two three") for _ in range(10)))
        assert all(answer.endswith("heard: one two three") for answer in answers)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Cut(), "GET /health: connection closed before the answer"),
        (Reset(), "GET /health: connection reset by peer"),
        (Garbage(), "GET /health: the answer is not valid HTTP"),
        (Stall(), "GET /health: no answer within 1 s"),
        (Slow(bytes_per_s=50), "GET /health: no answer within 1 s"),
    ],
    ids=lambda value: type(value).__name__.lower() if not isinstance(value, str) else "",
)
async def test_no_client_notices_a_fault_before_content_and_checks_tell_of_it(
    start_node: StartNode,
    echo_models: EchoFactory,
    between: Between,
    session: aiohttp.ClientSession,
    fault: Fault,
    reason: str,
) -> None:
    bad, good = [await between(model.address) for model in await echo_models(2)]
    resources = pool([bad.address, good.address])
    resources["upstreams"][0]["health_checks"][0]["timeout"] = patience(fault)
    resources["services"][0]["retry_policy"] = retry_policy(fault)
    gateway = await start_node(resources)
    await ask_many(session, gateway)

    before, bad.fault = now(), fault
    await ask_many(session, gateway)
    told = await until_health(session, gateway, bad, healthy=False, reason=reason)
    assert before <= told_since(told) <= now()
    await ask_many(session, gateway)
    await until_health(session, gateway, good, healthy=True)

    before, bad.fault = now(), None
    told = await until_health(session, gateway, bad, healthy=True, reason="GET /health passed")
    assert told_since(told) >= before
    await ask_many(session, gateway)


@pytest.mark.parametrize("fault", [Cut(), Reset(), Stall()], ids=str)
async def test_no_client_notices_a_fault_before_content_and_its_failures_tell_of_it(
    start_node: StartNode,
    echo_models: EchoFactory,
    between: Between,
    session: aiohttp.ClientSession,
    fault: Fault,
) -> None:
    bad, good = [await between(model.address) for model in await echo_models(2)]
    resources = pool([bad.address, good.address], **EJECTION)
    resources["services"][0]["retry_policy"] = retry_policy(fault)
    gateway = await start_node(resources)

    before, bad.fault = now(), fault
    await ask_many(session, gateway)
    told = await endpoint(session, gateway, bad)
    assert told["healthy"] is False
    assert told["reason"] == "ejected: 5 connection failures or timeouts in a row"
    assert told["ejections"] >= 1
    assert before <= told_since(told) <= now()
    assert datetime.fromisoformat(told["ejected_until"]) > told_since(told)

    bad.fault = None
    await until_health(session, gateway, bad, healthy=True)
    await ask_many(session, gateway)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """A streamed answer as a client got it: its text, its last event, and how often the node tried."""

    text: str
    last: str
    attempts: str


async def stream(session: aiohttp.ClientSession, node: Node, text: str, **body: Any) -> Stream:
    """Asks for a streamed answer, and takes what comes. The answer itself must end in order."""
    body = {"model": "echo", "stream": True, "messages": [{"role": "user", "content": text}], **body}
    headers = {"authorization": f"Bearer {KEY}"}
    async with session.post(f"http://{node.http}/v1/chat/completions", json=body, headers=headers) as response:
        assert response.status == 200
        events = (await response.text()).strip().split("\n\n")
        attempts = response.headers["x-janua-attempts"]
    chunks = [json.loads(event.removeprefix("data: ")) for event in events if event.startswith("data: {")]
    words = [choice["delta"].get("content") or "" for chunk in chunks for choice in chunk.get("choices", ())]
    return Stream(text="".join(words), last=events[-1], attempts=attempts)


# Well within the words of an answer, and far behind the end of that to a health check.
AFTER = 3000
TEXT = " ".join(f"word-{number}" for number in range(100))


@pytest.mark.parametrize(
    ("fault", "codes"),
    [
        (Cut(AFTER), "upstream_cut"),
        (Reset(AFTER), "upstream_cut"),
        # With noise in the place of a chunk's size nothing more may come of it.
        (Garbage(AFTER), "upstream_cut"),
        (Stall(AFTER), "stream_idle_timeout"),
    ],
    ids=lambda value: type(value).__name__.lower() if not isinstance(value, str) else "",
)
async def test_a_fault_after_content_is_an_explicit_last_event(
    start_node: StartNode,
    echo_models: EchoFactory,
    between: Between,
    session: aiohttp.ClientSession,
    fault: Fault,
    codes: str,
) -> None:
    bad, good = [await between(model.address) for model in await echo_models(2, "--word-delay", "0.002")]
    detection = {"consecutive_local_origin_failure": 1, "base_ejection_time": "60s"}
    resources = pool([bad.address, good.address], health_checks=[], outlier_detection=detection)
    resources["services"][0].update(retry_policy=retry_policy(fault), timeouts={"stream_idle": patience(fault)})
    gateway = await start_node(resources)

    before, bad.fault = now(), fault
    answers = [await stream(session, gateway, TEXT) for _ in range(4)]
    (broken,) = [answer for answer in answers if answer.last != "data: [DONE]"]
    assert broken.last.startswith("event: error\ndata: ")
    assert json.loads(broken.last.partition("data: ")[2])["error"]["code"] in codes.split()
    assert broken.attempts == "1"
    assert broken.text
    assert all(answer.text.endswith(TEXT) for answer in answers if answer is not broken)

    told = await endpoint(session, gateway, bad)
    assert (told["healthy"], told["ejections"]) == (False, 1)
    assert told["reason"] == "ejected: 1 connection failures or timeouts in a row"
    assert before <= told_since(told) <= now()


@pytest.mark.component("llama")
@pytest.mark.timeout(300)  # the first use puts the weights together
async def test_a_language_model_that_is_cut_off_is_told_apart_from_one_that_has_finished(
    start_node: StartNode,
    between: Between,
    session: aiohttp.ClientSession,
    running: AsyncExitStack,
) -> None:
    child = await Child.start("llama", [sys.executable, "-m", "janua_client.demo.llama_server"])
    running.push_async_callback(child.stop)
    proxy = await between(str((await child.ready(240))["url"]).removeprefix("http://"))
    resources = pool([proxy.address])
    resources["routes"][0]["match"] = {"models": [LLAMA]}
    gateway = await start_node(resources)

    question: dict[str, Any] = {
        "text": "Tell a story about the sea.",
        "model": LLAMA,
        "max_tokens": 16,
        "temperature": 0,
    }
    whole = await stream(session, gateway, **question)
    assert whole.last == "data: [DONE]"
    proxy.fault = Cut(1500)
    broken = await stream(session, gateway, **question)
    assert whole.text.startswith(broken.text)
    assert broken.text
    assert json.loads(broken.last.partition("data: ")[2])["error"]["code"] == "upstream_cut"
