"""A running node as tests see it: its addresses, its admin listener, and its configuration to be changed."""

import asyncio
import itertools
import json
import signal
from collections.abc import Iterator, Mapping
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from tests.conformance.configuration import Configuration
from tests.conformance.gateway_process import Addresses, GatewayProcess
from tests.conformance.polling import eventually

# What the node takes to read a small file: asked at once, it could only say no, thousands of times in a run.
_RELOAD_S = 0.005


class Gateway:
    """One node. `apply` may be called any number of times."""

    _numbers: Iterator[int] = itertools.count(1)

    def __init__(self, process: GatewayProcess, session: aiohttp.ClientSession) -> None:
        self.process = process
        self._session = session

    @property
    def addresses(self) -> Addresses:
        """Where it listens."""
        return self.process.addresses

    async def apply(self, configuration: Configuration) -> None:
        """Makes this the whole configuration, and returns once it is in use."""
        marker = f"applied-{next(self._numbers)}"
        self.process.config_file.write_text(render(configuration, marker), "utf-8")
        self.process.send_signal(signal.SIGHUP)
        await asyncio.sleep(_RELOAD_S)

        async def is_in_use() -> bool:
            dump = await self.config_dump()
            return any(consumer["name"] == marker for consumer in dump["consumers"])

        try:
            await eventually(is_in_use, "the configuration is in use")
        except AssertionError as error:
            error.add_note("\n".join(self.process.log.splitlines()[-20:]))
            raise

    async def get(self, path: str) -> tuple[int, str]:
        """Status and text of an admin path."""
        async with self._session.get(f"http://{self.addresses.admin}{path}") as response:
            return response.status, await response.text()

    async def post(self, path: str) -> tuple[int, str]:
        """Status and text of what posting to an admin path gives."""
        async with self._session.post(f"http://{self.addresses.admin}{path}") as response:
            return response.status, await response.text()

    async def config_dump(self) -> Any:
        """What `/config_dump` shows."""
        return json.loads((await self.get("/config_dump"))[1])

    async def endpoints(self) -> list[dict[str, Any]]:
        """What `/endpoints` shows."""
        endpoints: list[dict[str, Any]] = json.loads((await self.get("/endpoints"))[1])["endpoints"]
        return endpoints

    async def metric(self, name: str, labels: Mapping[str, str] | None = None) -> float:
        """The sum of all samples of that name with these labels."""
        _, text = await self.get("/metrics")
        # All else is left out before it is read: the parser takes its time, and this is asked after every test.
        of_that_name = "".join(line for line in text.splitlines(keepends=True) if line.startswith(name))
        wanted = (labels or {}).items()
        samples = (sample for family in text_string_to_metric_families(of_that_name) for sample in family.samples)
        return sum(sample.value for sample in samples if sample.name == name and wanted <= sample.labels.items())

    async def access_log_entry(self, request_id: str) -> dict[str, Any]:
        """The line of that request, once it is written."""
        found: list[dict[str, Any]] = []

        async def is_written() -> bool:
            whole_lines = self.process.access_log.read_text("utf-8").rpartition("\n")[0]
            found.extend(json.loads(line) for line in whole_lines.split("\n") if f'"{request_id}"' in line)
            return bool(found)

        await eventually(is_written, f"request {request_id} stands in the access log")
        assert len(found) == 1
        return found[0]

    async def wait_until_idle(self) -> None:
        """Returns once nothing is in flight: neither a client's request nor one to an endpoint."""

        async def is_idle() -> bool:
            busy = [endpoint for endpoint in await self.endpoints() if endpoint["active_requests"]]
            return not busy and await self.metric("janua_active_requests") == 0

        await eventually(is_idle, "no request is in flight")

    async def wait_for_active_requests(self, count: int) -> None:
        """Returns once that many requests of clients are in flight."""

        async def is_busy() -> bool:
            return await self.metric("janua_active_requests") == count

        await eventually(is_busy, f"{count} requests are in flight")


def render(configuration: Configuration, marker: str) -> str:
    """The configuration as the text of a file (JSON is YAML), with a consumer that tells it from others."""
    consumers = [*configuration.get("consumers", ()), {"name": marker}]
    return json.dumps({**configuration, "consumers": consumers})
