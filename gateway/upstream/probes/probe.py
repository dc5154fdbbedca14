"""The interface of all probes."""

from typing import Protocol


class Probe(Protocol):
    """Asks one endpoint whether it is well."""

    @property
    def name(self) -> str:
        """What is asked, in a few words: `GET /health`."""

    async def ask(self, timeout_s: float) -> str | None:
        """None if the endpoint is well, else what was wrong. The caller sees to the time limit, which is told for
        connections that take one of their own. Raises `TransportError`."""
