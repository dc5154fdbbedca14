"""More requests than a limit over all nodes lets through, and what of them was admitted when."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.integration.configuration import KEY
from tests.support.processes import Node

BODY = {"model": "echo", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that was answered: it was counted at some moment between these two."""

    begin: float
    end: float


def most_in_a_window(admitted: Sequence[Admitted], window_s: float) -> int:
    """The most requests that were surely counted within one window, however it lies."""
    by_end = sorted(admitted, key=lambda each: each.end)
    most = 0
    for first in admitted:
        until = first.begin + window_s
        most = max(most, sum(1 for each in by_end if each.begin >= first.begin and each.end < until))
    return most


async def post(session: aiohttp.ClientSession, node: Node, **fields: Any) -> aiohttp.ClientResponse:
    """Asks once, and reads the answer."""
    headers = {"authorization": f"Bearer {KEY}"}
    url = f"http://{node.http}/v1/chat/completions"
    async with session.post(url, json={**BODY, **fields}, headers=headers) as reply:
        await reply.read()
        return reply


@dataclass(slots=True)
class Sent:
    """Requests sent from a moment on, and those that were answered."""

    begin: float
    requests: int = 0
    admitted: list[Admitted] = field(default_factory=list)


async def flood_at(nodes: Sequence[Node], *, rate: float, seconds: float, clients: int = 100) -> Sent:
    """Asks all nodes in turn at a fixed rate, as far as so many clients can. Fails on any answer but 200 and 429."""
    sent = Sent(time.monotonic())
    requests = iter(range(round(rate * seconds)))

    async def ask(session: aiohttp.ClientSession) -> None:
        for number in requests:
            if (due := sent.begin + number / rate) >= (now := time.monotonic()):
                await asyncio.sleep(due - now)
            if (begin := time.monotonic()) > sent.begin + seconds:
                return
            sent.requests += 1
            reply = await post(session, nodes[number % len(nodes)])
            assert reply.status in (200, 429), reply.status
            if reply.status == 200:
                sent.admitted.append(Admitted(begin, time.monotonic()))

    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
        for _ in range(clients):
            tasks.create_task(ask(session))
    return sent


async def flood(nodes: Sequence[Node], *, seconds: float, clients: int, pause_s: float) -> list[Admitted]:
    """Asks all nodes again and again, each client with a pause between. Fails on answers other than 200 and 429."""
    admitted: list[Admitted] = []
    until = time.monotonic() + seconds

    async def ask(session: aiohttp.ClientSession, node: Node) -> None:
        while (begin := time.monotonic()) < until:
            reply = await post(session, node)
            assert reply.status in (200, 429), reply.status
            if reply.status == 200:
                admitted.append(Admitted(begin, time.monotonic()))
            else:
                assert int(reply.headers["retry-after"]) >= 0
            await asyncio.sleep(pause_s)

    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
        for number in range(clients):
            tasks.create_task(ask(session, nodes[number % len(nodes)]))
    return admitted
