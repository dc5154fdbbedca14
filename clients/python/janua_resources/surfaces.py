"""What a path is to a node: one whose requests it understands, one that it answers itself, or any other.

Nodes have tables of their own; a test compares them with this one.
"""

import re
from collections.abc import Mapping
from enum import Enum, auto
from types import MappingProxyType
from typing import Final
from urllib.parse import unquote

_INFERENCE_SERVICE: Final = "/janua.inference.v1.InferenceService/"
_OPEN_INFERENCE_SERVICE: Final = "/inference.GRPCInferenceService/"
_POST: Final = frozenset({"POST"})
_GET: Final = frozenset({"GET"})

# The methods that a path takes. gRPC calls are POST.
_INFERENCE: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "/v1/chat/completions": _POST,
        "/v1/completions": _POST,
        "/v1/responses": _POST,
        "/v1/embeddings": _POST,
        "/v1/rerank": _POST,
        "/v1/messages": _POST,
        "/v1/messages/count_tokens": _POST,
        "/v2/chat": _POST,
        "/v2/embed": _POST,
        "/v2/rerank": _POST,
        "/api/chat": _POST,
        "/api/embed": _POST,
        **{_INFERENCE_SERVICE + name: _POST for name in ("CreateChatCompletion", "StreamChatCompletion")},
        f"{_INFERENCE_SERVICE}CreateEmbeddings": _POST,
        **{
            _OPEN_INFERENCE_SERVICE + name: _POST
            for name in ("ModelReady", "ModelMetadata", "ModelInfer", "ModelStreamInfer")
        },
    }
)
_RELAYED: Final = re.compile(
    r"/v1/(images/(generations|edits|variations)|audio/(speech|transcriptions|translations)|moderations)"
)

_OPEN_INFERENCE: Final = re.compile(r"/v2/models/(?P<model>[^/]+)(/versions/[^/]+)?(?P<end>/infer|/ready)?")

_GEMINI: Final = re.compile(
    r"/(v1|v1beta)/models/(?P<model>.+)"
    r":(generateContent|streamGenerateContent|countTokens|batchEmbedContents|embedContent)"
)

_OWN: Final = re.compile(
    r"/v1/models(/.*)?"
    r"|/v1beta/models(/[^:]*)?"
    r"|/api/tags"
    r"|/v2(/health/(live|ready))?"
    r"|/janua\.inference\.v1\.InferenceService/ListModels"
    r"|/inference\.GRPCInferenceService/Server(Live|Ready|Metadata)"
    r"|/grpc\.health\.v1\.Health/(Check|List|Watch)"
    r"|/grpc\.reflection\.v1alpha\.ServerReflection/ServerReflectionInfo"
)


class Surface(Enum):
    """What becomes of the requests to a path."""

    INFERENCE = auto()
    """The node understands them, and routes see the model that they name."""
    RELAYED = auto()
    """Routes see the model that they name, and they go with everything else as it is to where a route sends them."""
    OWN = auto()
    """The node answers them itself, whatever routes say."""
    PASSED_THROUGH = auto()
    """They go as they are to where a route sends them."""


def surface_of(path: str) -> Surface:
    """What a path is, percent-encoded or not."""
    if path in _INFERENCE or _OPEN_INFERENCE.fullmatch(path) or _GEMINI.fullmatch(path):
        return Surface.INFERENCE
    if _RELAYED.fullmatch(path):
        return Surface.RELAYED
    return Surface.OWN if _OWN.fullmatch(path) else Surface.PASSED_THROUGH


def is_for_model(path: str) -> bool:
    """Whether its requests are for a model, so that routes without a path take them too."""
    return surface_of(path) in (Surface.INFERENCE, Surface.RELAYED)


def inference_methods(path: str) -> frozenset[str]:
    """The methods that a path for models takes; others are refused whatever routes say."""
    found = _OPEN_INFERENCE.fullmatch(path)
    if found is None:
        return _INFERENCE.get(path, _POST)
    return _POST if found["end"] == "/infer" else _GET


def model_in_path(path: str) -> str:
    """The model that a percent-encoded path names, decoded; empty if the body names it."""
    found = _OPEN_INFERENCE.fullmatch(path) or _GEMINI.fullmatch(path)
    return unquote(found["model"]) if found is not None else ""


def is_inference_service(service: str) -> bool:
    """Whether nodes serve a gRPC service of this name for inference."""
    return f"/{service}/" in (_INFERENCE_SERVICE, _OPEN_INFERENCE_SERVICE)
