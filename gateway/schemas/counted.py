"""What of a conversation is read by the model, and so counted."""

from gateway.schemas.signatures import unsealed
from gateway.types import ChatRequest


def counted(request: ChatRequest, dialect: str) -> ChatRequest:
    """The conversation for a backend that speaks `dialect`, without what says how to write the answer: not every API
    that counts tokens takes it."""
    return ChatRequest(
        model=request.model,
        messages=unsealed(request, dialect).messages,
        tools=request.tools,
        tool_choice=request.tool_choice,
        parallel_tool_calls=request.parallel_tool_calls,
        response_format=request.response_format,
        reasoning=request.reasoning,
        dialect=request.dialect,
        extra=request.extra,
    )
