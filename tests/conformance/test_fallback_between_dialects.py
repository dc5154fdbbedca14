"""A backend of any dialect that fails before its first content is replaced by another service, unseen by the client."""

from pathlib import Path

import pytest

from tests.conformance.conftest import Upstreams
from tests.conformance.dialect_backends import SECRET, Backend, configuration
from tests.conformance.dialect_table import BACKENDS, CLIENTS, RESPONSES
from tests.conformance.dialects import Ask, Node
from tests.conformance.gateway import Gateway
from tests.conformance.test_adversarial_backends import HELLO, bad_beginnings, damaged, open_stream, stream_of
from tests.support.scripts import answer, chat, stall


@pytest.mark.parametrize("backend", [*BACKENDS, RESPONSES], ids=lambda backend: f"from-{backend.name}")
async def test_another_service_answers_instead_of_one_that_fails_before_its_content(
    gateway: Gateway, upstreams: Upstreams, backend: Backend, inference_node: Node, tmp_path: Path
) -> None:
    """Field failure: fallback never runs on a stalled or malformed first event."""
    failing, well = await upstreams(2)
    key = tmp_path / "key"
    key.write_text(SECRET, "utf-8")
    config = dict(configuration(backend, failing.address, key, timeouts={"first_token": "200ms"}))
    config["upstreams"] = [*config["upstreams"], {"name": "well", "endpoints": [{"address": well.address}]}]
    config["services"] = [*config["services"], {"name": "well", "upstream_service": {"upstream": "well"}}]
    backends = [{"service": "llm"}, {"service": "well", "priority": 1}]
    config["routes"] = [{"name": "chat", "match": {"models": ["*"]}, "backends": backends}]
    await gateway.apply(config)
    well.script = chat("hello there")
    faults = {
        **bad_beginnings(backend),
        "silence": stall(open_stream(backend), len(open_stream(backend))),
        "a frame that is none": answer(stream_of(backend, b"\x00" * 40)),
        "a damaged frame": answer(stream_of(backend, damaged(backend.pieces(HELLO)[0], 9))),
    }
    for number, (fault, script) in enumerate(faults.items(), 1):
        failing.script = script
        reply = await CLIENTS[0].ask(inference_node, Ask(), streamed=True)
        assert (reply.error, reply.told.text, reply.is_ended) == (None, "hello there", True), fault
        assert len(failing.requests) == len(well.requests) == number
