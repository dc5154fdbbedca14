"""The list of models that a caller may ask for, and one of them, as each dialect writes them.

Lists are told whole, on one page. Of a model the node knows its name alone: nothing else is made up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from gateway.listeners.error_formats import ANTHROPIC_ERRORS, GEMINI_ERRORS, OLLAMA_ERRORS, OPENAI_ERRORS
from gateway.listeners.http_exchange import ErrorFormat
from gateway.pipeline import ModelListing

Json = dict[str, Any]

MODELS_PATH = "/v1/models"
GEMINI_MODELS_PATH = "/v1beta/models"
OLLAMA_TAGS_PATH = "/api/tags"


class ModelDialect(Protocol):
    """How models are written. `created` is a time in seconds since 1970."""

    @property
    def errors(self) -> ErrorFormat:
        """How errors are written."""

    def many(self, models: Sequence[ModelListing], created: int) -> Json:
        """The list."""

    def one(self, model: ModelListing, created: int) -> Json:
        """One model."""


@dataclass(frozen=True, slots=True)
class OpenAIModels:
    """See `ModelDialect`."""

    errors: ErrorFormat = OPENAI_ERRORS

    def many(self, models: Sequence[ModelListing], created: int) -> Json:
        """`{"object": "list", …}`."""
        return {"object": "list", "data": [self.one(model, created) for model in models]}

    def one(self, model: ModelListing, created: int) -> Json:
        """With the service that offers it as the owner."""
        return {"id": model.id, "object": "model", "created": created, "owned_by": model.owned_by}


@dataclass(frozen=True, slots=True)
class AnthropicModels:
    """See `ModelDialect`."""

    errors: ErrorFormat = ANTHROPIC_ERRORS

    def many(self, models: Sequence[ModelListing], created: int) -> Json:
        """The only page."""
        ends = (models[0].id, models[-1].id) if models else (None, None)
        data = [self.one(model, created) for model in models]
        return {"data": data, "has_more": False, "first_id": ends[0], "last_id": ends[1]}

    def one(self, model: ModelListing, created: int) -> Json:
        """The name is what it is shown by, too."""
        at = datetime.fromtimestamp(created, UTC).isoformat().replace("+00:00", "Z")
        return {"type": "model", "id": model.id, "display_name": model.id, "created_at": at}


@dataclass(frozen=True, slots=True)
class GeminiModels:
    """See `ModelDialect`."""

    errors: ErrorFormat = GEMINI_ERRORS

    def many(self, models: Sequence[ModelListing], created: int) -> Json:
        """The only page."""
        return {"models": [self.one(model, created) for model in models]}

    def one(self, model: ModelListing, created: int) -> Json:
        """As a resource."""
        return {"name": f"models/{model.id}", "displayName": model.id}


@dataclass(frozen=True, slots=True)
class OllamaModels:
    """See `ModelDialect`."""

    errors: ErrorFormat = OLLAMA_ERRORS

    def many(self, models: Sequence[ModelListing], created: int) -> Json:
        """`{"models": […]}`."""
        return {"models": [self.one(model, created) for model in models]}

    def one(self, model: ModelListing, created: int) -> Json:
        """A model that lies elsewhere has no size here, and no digest; clients want the fields."""
        at = datetime.fromtimestamp(created, UTC).isoformat().replace("+00:00", "Z")
        return {"name": model.id, "model": model.id, "modified_at": at, "size": 0, "digest": "", "details": {}}


OPENAI_MODELS: ModelDialect = OpenAIModels()
ANTHROPIC_MODELS: ModelDialect = AnthropicModels()
GEMINI_MODELS: ModelDialect = GeminiModels()
OLLAMA_MODELS: ModelDialect = OllamaModels()


def is_model_path(path: str) -> bool:
    """Whether a path is of the list or of one model, which the node answers whatever routes say. What follows a colon
    under Gemini's is a method."""
    if f"{path}/".startswith(f"{GEMINI_MODELS_PATH}/"):
        return ":" not in path
    return path == OLLAMA_TAGS_PATH or f"{path}/".startswith(f"{MODELS_PATH}/")


def models_dialect(path: str, headers: Mapping[bytes, bytes]) -> ModelDialect | None:
    """Whose clients ask so, if anybody's: paths tell, and where several share one, the headers that only one's send."""
    if path.startswith("/api/"):
        return OLLAMA_MODELS
    if path.startswith("/v1beta/"):
        return GEMINI_MODELS
    if not path.startswith("/v1/"):
        return None
    if b"anthropic-version" in headers:
        return ANTHROPIC_MODELS
    return GEMINI_MODELS if b"x-goog-api-key" in headers else OPENAI_MODELS
