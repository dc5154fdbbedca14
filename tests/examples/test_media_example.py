"""`examples/media.yaml`: the official OpenAI client before a server of sound."""

import openai
import pytest

from tests.examples.test_examples import start
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import json_response
from tests.support.processes import NodeFactory
from tests.support.scripts import answer

SOUND = b"RIFF\x00\xff" * 1000


async def test_sound_goes_where_its_model_is_and_files_are_not_for_all(
    node: NodeFactory, faulty_upstream: FaultyUpstream
) -> None:
    gateway = await start(node, "media.yaml", SPEECH=faulty_upstream.address, OPENAI_API_KEY="made-up")
    faulty_upstream.script = answer(json_response(200, {"text": "hello"}))
    url = f"http://{gateway.http}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="janua-demo-key", max_retries=0) as client:
        heard = await client.audio.transcriptions.create(model="whisper", file=("a.wav", SOUND))
        assert heard.text == "hello"
        with pytest.raises(openai.NotFoundError):
            await client.files.list()
        with pytest.raises(openai.AuthenticationError):
            await client.with_options(api_key="other").audio.transcriptions.create(
                model="whisper", file=("a.wav", SOUND)
            )
    (request,) = faulty_upstream.requests
    assert b"whisper-large-v3" in request.body
    assert SOUND in request.body
    assert request.header("authorization") is None
