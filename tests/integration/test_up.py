"""`janua up` as a user runs it, with the official OpenAI client unchanged in front."""

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import openai
import pytest
from janua_client.processes import Child

from tests.support.polling import eventually
from tests.support.processes import START_S, EchoFactory

EXAMPLE = Path(__file__).parents[2] / "examples" / "quickstart.yaml"
KEY = "janua-demo-key"
JANUA = str(Path(sys.executable).parent / "janua")
ANY_PORT = ("--listen", "--http", "--grpc", "--admin")


async def _start_up(
    running: AsyncExitStack, file: Path, data_dir: Path, *models: str, options: Sequence[str] = ()
) -> tuple[Child, dict[str, str]]:
    ports = [argument for flag in ANY_PORT for argument in (flag, "127.0.0.1:0")]
    env = {"MODEL_1": models[0], "MODEL_2": models[1], "MODEL": "echo", "MODEL_NAME": "echo"}
    command = [JANUA, "up", "-f", str(file), "--watch", "--data-dir", str(data_dir)]
    child = await Child.start("up", [*command, *ports, *options], env=env)
    running.push_async_callback(child.stop, START_S)
    ready = await child.ready(START_S)
    return child, {name: str(value) for name, value in ready.items()}


@pytest.fixture
async def up(running: AsyncExitStack, tmp_path: Path, echo_models: EchoFactory) -> tuple[Path, str]:
    """A running `janua up --watch`: the file it watches, and its HTTP address."""
    models = await echo_models(2)
    file = tmp_path / "janua.yaml"
    file.write_text(EXAMPLE.read_text())
    _, ready = await _start_up(running, file, tmp_path / "data", *(model.address for model in models))
    return file, ready["http"]


async def test_the_official_client_works_unchanged(up: tuple[Path, str]) -> None:
    _, http = up
    async with openai.AsyncOpenAI(base_url=f"http://{http}/v1", api_key=KEY, max_retries=0) as client:
        answer = await client.chat.completions.create(model="echo", messages=[{"role": "user", "content": "hello"}])
        assert (answer.choices[0].message.content or "").endswith("heard: hello")
        assert answer.usage is not None
        assert answer.usage.total_tokens > 0

        stream = await client.chat.completions.create(
            model="echo",
            messages=[{"role": "user", "content": "a stream"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
        text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
        assert text.endswith("heard: a stream")
        assert chunks[-1].usage is not None

        vectors = await client.embeddings.create(model="echo", input=["one", "two"])
        assert len(vectors.data) == 2
        assert [model.id async for model in await client.models.list()] == ["echo"]

    async with openai.AsyncOpenAI(base_url=f"http://{http}/v1", api_key="wrong", max_retries=0) as stranger:
        with pytest.raises(openai.AuthenticationError, match="not known"):
            await stranger.models.list()


async def test_the_gateway_speaks_http_with_the_server_that_is_asked_for(
    running: AsyncExitStack, tmp_path: Path, echo_models: EchoFactory
) -> None:
    models = await echo_models(2)
    addresses = [model.address for model in models]
    _, ready = await _start_up(running, EXAMPLE, tmp_path, *addresses, options=("--server", "granian"))
    async with openai.AsyncOpenAI(base_url=f"http://{ready['http']}/v1", api_key=KEY, max_retries=0) as client:
        answer = await client.models.with_raw_response.list()
    assert answer.headers["server"] == "granian"


async def test_an_edit_is_applied_and_a_bad_one_is_not(up: tuple[Path, str]) -> None:
    file, http = up
    good = file.read_text()
    async with openai.AsyncOpenAI(base_url=f"http://{http}/v1", api_key=KEY, max_retries=0) as client:

        async def models() -> list[str]:
            return [model.id async for model in await client.models.list()]

        async def lists_another() -> bool:
            return await models() == ["another", "echo"]

        _replace(file, good.replace("policies: [keys]", "policies: [kees]"))
        _replace(file, good.replace("advertised_models: [", "advertised_models: [another, "))
        await eventually(lists_another)


def _replace(file: Path, text: str) -> None:
    """Writes as editors do: a new file under the old name."""
    new = file.with_suffix(".new")
    new.write_text(text)
    os.replace(new, file)


async def test_a_port_in_use_is_one_line(running: AsyncExitStack, tmp_path: Path, echo_models: EchoFactory) -> None:
    models = await echo_models(2)
    addresses = [model.address for model in models]
    _, ready = await _start_up(running, EXAMPLE, tmp_path / "first", *addresses)
    command = [JANUA, "up", "--data-dir", str(tmp_path / "second")]
    ports = ("--listen", "127.0.0.1:0", "--http", ready["http"], "--grpc", "127.0.0.1:0", "--admin", "127.0.0.1:0")
    process = await asyncio.create_subprocess_exec(
        *command, *ports, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, error = await process.communicate()
    assert process.returncode == 1
    assert not any(json.loads(line)["event"] == "ready" for line in out.splitlines())
    assert f"cannot listen on {ready['http']}: address already in use" in error.decode()
