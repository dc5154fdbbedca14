"""Fixtures of several files here."""

from collections.abc import AsyncIterator

import pytest

from tests.integration.replicas import Fleet, three_servers


@pytest.fixture
async def fleet(postgres_url: str) -> AsyncIterator[Fleet]:
    """Three config servers over one database."""
    async with three_servers(postgres_url) as servers:
        yield servers
