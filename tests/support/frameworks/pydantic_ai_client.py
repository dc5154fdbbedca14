"""Pydantic AI over the APIs of OpenAI and Anthropic. Runs in an environment of its own."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

from tests.support.frameworks.serve import HELLO, Scenario, serve


class Report(BaseModel):
    """The weather of a city."""

    city: str
    degrees: int


def openai_chat(url: str, key: str) -> Mapping[str, Scenario]:
    """Chat completions."""
    return _scenarios(lambda: OpenAIChatModel("m", provider=_openai(url, key)))


def openai_responses(url: str, key: str) -> Mapping[str, Scenario]:
    """Responses."""
    return _scenarios(lambda: OpenAIResponsesModel("m", provider=_openai(url, key)))


def anthropic(url: str, key: str) -> Mapping[str, Scenario]:
    """Messages."""

    def model() -> Model:
        client = AsyncAnthropic(base_url=url, api_key=key, max_retries=0)
        return AnthropicModel("m", provider=AnthropicProvider(anthropic_client=client))

    return _scenarios(model)


def _openai(url: str, key: str) -> OpenAIProvider:
    return OpenAIProvider(openai_client=AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0))


def _scenarios(model: Callable[[], Model]) -> Mapping[str, Scenario]:
    def agent_with_tool() -> tuple[Agent[None, str], list[list[Any]]]:
        calls: list[list[Any]] = []

        def weather(city: str) -> str:
            """Tells the weather of a city."""
            calls.append(["weather", {"city": city}])
            return "12 degrees"

        return Agent(model(), tools=[weather]), calls

    async def answer() -> Mapping[str, Any]:
        result = await Agent(model()).run(HELLO)
        usage = result.usage
        return {"text": result.output, "tokens": [usage.input_tokens, usage.output_tokens]}

    async def stream() -> Mapping[str, Any]:
        async with Agent(model()).run_stream(HELLO) as result:
            pieces = [piece async for piece in result.stream_text(delta=True, debounce_by=None)]
        return {"text": "".join(pieces), "pieces": pieces}

    async def tools() -> Mapping[str, Any]:
        agent, calls = agent_with_tool()
        return {"calls": calls, "text": (await agent.run(HELLO)).output}

    async def streamed_tools() -> Mapping[str, Any]:
        agent, calls = agent_with_tool()
        async with agent.run_stream(HELLO) as result:
            return {"calls": calls, "text": await result.get_output()}

    async def structured() -> Mapping[str, Any]:
        result = await Agent(model(), output_type=Report).run(HELLO)
        return {"value": result.output.model_dump()}

    scenarios = (answer, stream, tools, streamed_tools, structured)
    return {scenario.__name__: _run(scenario) for scenario in scenarios}


def _run(scenario: Callable[[], Coroutine[Any, Any, Mapping[str, Any]]]) -> Scenario:
    return lambda: asyncio.run(scenario())


if __name__ == "__main__":
    serve({"openai_chat": openai_chat, "openai_responses": openai_responses, "anthropic": anthropic})
