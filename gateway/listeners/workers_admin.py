"""The admin listener before several workers: it asks each of theirs and gives one answer."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec
from quart import Quart, Response, request

from gateway.telemetry.merged_metrics import MergedMetrics

_TIMEOUT = aiohttp.ClientTimeout(total=5.0)


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: str


def make_workers_admin_app(admins: Callable[[], Mapping[int, str | None]]) -> Quart:
    """The ASGI application. `admins` gives where each worker's own admin listener is, None while it is not there."""
    app = Quart("gateway.listeners.workers_admin", static_folder=None)
    app.json.sort_keys = False  # type: ignore[attr-defined]  # of Quart's default provider

    async def ask(method: str, path: str, params: Mapping[str, str] | None = None) -> dict[int, _Answer | None]:
        """What each worker answers; None: nothing."""
        asked = admins()
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
            answers = await asyncio.gather(
                *(_ask(session, method, address, path, params or {}) for address in asked.values())
            )
        return dict(zip(asked, answers, strict=True))

    async def ask_json(method: str, path: str, params: Mapping[str, str] | None = None) -> dict[int, dict[str, Any]]:
        """The objects that workers answer with; one that gives none is left out."""
        answers = await ask(method, path, params)
        return {
            worker: msgspec.json.decode(answer.body)
            for worker, answer in answers.items()
            if answer is not None and answer.status == 200
        }

    @app.get("/livez")
    async def livez() -> Response:
        return Response("ok\n", content_type="text/plain")

    @app.get("/readyz")
    async def readyz() -> Response:
        """Ready as long as any worker is: connections go to those that listen."""
        answers = await ask("GET", "/readyz")
        lines = [f"worker {worker}: {_readiness(answer)}" for worker, answer in answers.items()]
        is_ready = any(answer is not None and answer.status == 200 for answer in answers.values())
        return Response("\n".join(lines) + "\n", 200 if is_ready else 503, content_type="text/plain")

    @app.get("/metrics")
    async def metrics() -> Response:
        answers = await ask("GET", "/metrics")
        pages = {worker: answer.body if answer else None for worker, answer in answers.items()}
        page = await asyncio.to_thread(MergedMetrics(pages).render)
        return Response(page, content_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/config_dump")
    async def config_dump() -> dict[str, Any]:
        dumps = await ask_json("GET", "/config_dump")
        return {"workers": [{"worker": worker, **dump} for worker, dump in dumps.items()]}

    @app.get("/endpoints")
    async def endpoints() -> dict[str, Any]:
        reports = await ask_json("GET", "/endpoints")
        return {
            "endpoints": [
                {"worker": worker, **endpoint} for worker, report in reports.items() for endpoint in report["endpoints"]
            ]
        }

    @app.post("/drain")
    async def drain() -> dict[str, Any]:
        answers = await ask_json("POST", "/drain")
        return {"draining": True, "active_requests": sum(answer["active_requests"] for answer in answers.values())}

    @app.post("/cache/purge")
    async def purge_cache() -> Response:
        """Of those that could not, the first says why."""
        answers = (await ask("POST", "/cache/purge", request.args.to_dict())).values()
        for answer in answers:
            if answer is not None and answer.status != 200:
                return Response(answer.body, answer.status, content_type="application/json")
        purged = sum(msgspec.json.decode(answer.body)["purged"] for answer in answers if answer is not None)
        return Response(msgspec.json.encode({"purged": purged}), content_type="application/json")

    return app


def _readiness(answer: _Answer | None) -> str:
    return "not there" if answer is None else answer.body.strip()


async def _ask(
    session: aiohttp.ClientSession, method: str, address: str | None, path: str, params: Mapping[str, str]
) -> _Answer | None:
    if address is None:
        return None
    try:
        async with session.request(method, f"http://{address}{path}", params=params) as response:
            return _Answer(response.status, await response.text())
    except (aiohttp.ClientError, TimeoutError):
        return None
