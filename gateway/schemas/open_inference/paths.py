"""The paths of the Open Inference Protocol over REST and its methods over gRPC: what is asked of which model. Pure."""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from gateway.schemas.open_inference.dialect import MalformedTensorError

GRPC_SERVICE: Final = "inference.GRPCInferenceService"

_PATH = re.compile(
    rb"/v2(?:/health/(?P<health>live|ready)|/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?(?P<end>/infer|/ready)?)?"
)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_SEPARATORS = re.compile(r"[/\\]")


class ModelAction(Enum):
    """What can be asked of a model: the method and the end of the path over REST, the method over gRPC."""

    INFER = ("POST", "/infer", "ModelInfer")
    READY = ("GET", "/ready", "ModelReady")
    METADATA = ("GET", "", "ModelMetadata")

    def __init__(self, http_method: str, path_end: str, rpc: str) -> None:
        self.http_method = http_method
        self.path_end = path_end
        self.rpc = rpc

    @property
    def grpc_path(self) -> str:
        """The path of a call over gRPC."""
        return f"/{GRPC_SERVICE}/{self.rpc}"


class ServerAction(Enum):
    """What can be asked of a server."""

    LIVE = "live"
    READY = "ready"
    METADATA = "metadata"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPath:
    """A path that names a model; `model` and `version` are percent-encoded."""

    action: ModelAction
    model: bytes
    version: bytes = b""

    def names(self) -> tuple[str, str]:
        """Model and version, decoded. Raises `MalformedTensorError` for what can be no name."""
        return _decoded(self.model, "model"), _decoded(self.version, "version")


_ACTION_OF_END = {action.path_end.encode(): action for action in ModelAction}


def match_path(raw: bytes) -> ModelPath | ServerAction | None:
    """What a path, percent-encoded as it came, asks for; None for one that is not of this protocol."""
    if not raw.startswith(b"/v2") or (match := _PATH.fullmatch(raw)) is None:
        return None
    if (model := match["model"]) is not None:
        action = _ACTION_OF_END[match["end"] or b""]
        return ModelPath(action=action, model=model, version=match["version"] or b"")
    return ServerAction.METADATA if match["health"] is None else ServerAction(match["health"].decode())


def model_path(action: ModelAction, model: str, version: str) -> str:
    """The path at a server. Raises `MalformedTensorError` for names that would make it another path for servers that
    decode before they split, or that resolve dot segments."""
    path = f"/v2/models/{_segment(model, 'model')}"
    if version:
        path += f"/versions/{_segment(version, 'version')}"
    return path + action.path_end


def _decoded(segment: bytes, what: str) -> str:
    try:
        text = unquote_to_bytes(segment).decode()
    except UnicodeDecodeError:
        raise MalformedTensorError("the name is not UTF-8", what) from None
    if _CONTROLS.search(text):
        raise MalformedTensorError("the name has control characters", what)
    return text


def _segment(name: str, what: str) -> str:
    if not name:
        raise MalformedTensorError("the name is missing", what)
    if _SEPARATORS.search(name) or _CONTROLS.search(name) or name in (".", ".."):
        raise MalformedTensorError(f"{name[:40]!r} cannot stand in the path of a REST server", what)
    return quote(name, safe="")
