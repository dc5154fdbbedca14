"""LangChain over the APIs of OpenAI and Anthropic. Runs in an environment of its own."""

from collections.abc import Mapping
from typing import Any

from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, SecretStr

from tests.support.frameworks.serve import HELLO, Scenario, serve


class Report(BaseModel):
    """The weather of a city."""

    city: str
    degrees: int


def weather(city: str) -> str:
    """Tells the weather of a city."""
    return "12 degrees"


def openai_chat(url: str, key: str) -> Mapping[str, Scenario]:
    """Chat completions and embeddings."""

    def embeddings() -> Mapping[str, Any]:
        embedder = OpenAIEmbeddings(
            model="m", base_url=f"{url}/v1", api_key=SecretStr(key), check_embedding_ctx_length=False, max_retries=0
        )
        return {"vectors": embedder.embed_documents([HELLO])}

    model = ChatOpenAI(model="m", base_url=f"{url}/v1", api_key=SecretStr(key), max_retries=0, stream_usage=True)
    return {**_scenarios(model), "embeddings": embeddings}


def openai_responses(url: str, key: str) -> Mapping[str, Scenario]:
    """Responses."""
    return _scenarios(
        ChatOpenAI(model="m", base_url=f"{url}/v1", api_key=SecretStr(key), max_retries=0, use_responses_api=True)
    )


def anthropic(url: str, key: str) -> Mapping[str, Scenario]:
    """Messages."""
    return _scenarios(
        ChatAnthropic(model_name="m", base_url=url, api_key=SecretStr(key), max_retries=0, timeout=20, stop=None)
    )


def _scenarios(model: BaseChatModel) -> Mapping[str, Scenario]:
    def answer() -> Mapping[str, Any]:
        message = model.invoke(HELLO)
        usage = message.usage_metadata
        return {"text": message.text, "tokens": usage and [usage["input_tokens"], usage["output_tokens"]]}

    def stream() -> Mapping[str, Any]:
        pieces = [text for chunk in model.stream(HELLO) if (text := chunk.text)]
        return {"text": "".join(pieces), "pieces": pieces}

    def after_calls(message: AIMessage) -> Mapping[str, Any]:
        calls = [[call["name"], call["args"]] for call in message.tool_calls]
        results = [weather_tool.invoke(call) for call in message.tool_calls]
        return {"calls": calls, "text": with_tools.invoke([HumanMessage(HELLO), message, *results]).text}

    def streamed_tools() -> Mapping[str, Any]:
        whole: AIMessageChunk | None = None
        for chunk in with_tools.stream(HELLO):
            whole = chunk if whole is None else whole + chunk
        assert whole is not None
        return after_calls(whole)

    def structured() -> Mapping[str, Any]:
        return {"value": model.with_structured_output(Report).invoke(HELLO).model_dump()}

    weather_tool = tool(weather)
    with_tools = model.bind_tools([weather_tool])
    return {
        "answer": answer,
        "stream": stream,
        "tools": lambda: after_calls(with_tools.invoke(HELLO)),
        "streamed_tools": streamed_tools,
        "structured": structured,
    }


if __name__ == "__main__":
    serve({"openai_chat": openai_chat, "openai_responses": openai_responses, "anthropic": anthropic})
