"""Fixtures of several files here."""

from collections.abc import AsyncIterator

import pytest

from tests.integration.configuration import apply, pool
from tests.integration.replicas import Fleet, three_servers
from tests.support.processes import ConfigServer, EchoFactory, Node, NodeFactory


@pytest.fixture
async def fleet(postgres_url: str) -> AsyncIterator[Fleet]:
    """Three config servers over one database."""
    async with three_servers(postgres_url) as servers:
        yield servers


@pytest.fixture
async def nodes(config_server: ConfigServer, node: NodeFactory, echo_models: EchoFactory) -> list[Node]:
    """Two nodes that serve a model."""
    (model,) = await echo_models(1)
    started = [await node(config_server) for _ in range(2)]
    await apply(config_server, pool([model.address]))
    return started
