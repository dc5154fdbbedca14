"""Whether a backend can do what a request asks for: known before it is called."""

from collections.abc import Iterable
from types import MappingProxyType
from typing import Final

from gateway.context import RequestContext
from gateway.plan import BackendPlan
from gateway.schemas.features.places import Asked
from gateway.schemas.unsupported import UnsupportedByBackendError
from gateway.types import Feature, Operation

_WORDS: Final = MappingProxyType(
    {
        Feature.CHAT: "conversations",
        Feature.EMBEDDINGS: "embeddings",
        Feature.STREAMING: "streamed answers",
        Feature.TOOLS: "tools",
        Feature.IMAGES: "pictures",
        Feature.AUDIO: "sound",
        Feature.FILES: "files",
        Feature.JSON_OBJECT: "answers in JSON",
        Feature.JSON_SCHEMA: "answers by a JSON Schema",
        Feature.REASONING: "telling it how much to think",
        Feature.LOGPROBS: "probabilities of tokens",
        Feature.MULTIPLE_CHOICES: "more than one answer",
    }
)
_OPERATIONS: Final = MappingProxyType({Operation.CHAT: Feature.CHAT, Operation.EMBEDDINGS: Feature.EMBEDDINGS})


def check_operation(context: RequestContext, backend: BackendPlan, lacks: frozenset[Feature]) -> None:
    """Raises `UnsupportedByBackendError` if what is asked for as a whole is among what the backend's model lacks."""
    feature = _OPERATIONS.get(context.operation)
    if feature in lacks:
        raise _unsupported(context, backend, Asked(feature, "model"))


def to_leave_out(
    context: RequestContext,
    backend: BackendPlan,
    lacks: frozenset[Feature],
    asked: Iterable[Asked],
    stream_place: str | None,
) -> frozenset[Feature]:
    """Of what a conversation asks for, that which the model lacks and the service drops.

    Raises `UnsupportedByBackendError`, which names the field, for what it does not drop.
    """
    check_operation(context, backend, lacks)
    if context.is_streaming and Feature.STREAMING in lacks:
        raise _unsupported(context, backend, Asked(Feature.STREAMING, stream_place or ""))
    missing = [each for each in asked if each.feature in lacks]
    if missing and not backend.service.drops_unsupported:
        raise _unsupported(context, backend, missing[0])
    return frozenset(each.feature for each in missing)


def _unsupported(context: RequestContext, backend: BackendPlan, asked: Asked) -> UnsupportedByBackendError:
    text = f"the model '{context.model}' at service {backend.service.name} cannot do this: {_WORDS[asked.feature]}"
    if not asked.place:
        return UnsupportedByBackendError(text, reason="UNSUPPORTED_FEATURE")
    return UnsupportedByBackendError(f"{asked.place}: {text}", reason="UNSUPPORTED_FEATURE", param=asked.place)
