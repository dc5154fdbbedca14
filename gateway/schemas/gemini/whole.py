"""Methods of Gemini's models whose answers come whole, as the data path relays them."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from gateway.config.snapshot import Failure
from gateway.framing.framing import SSE, Framing
from gateway.schemas.dialect import EventKind
from gateway.schemas.gemini import errors as gemini_errors
from gateway.types import Usage


@dataclass(frozen=True, slots=True)
class GeminiMethod:
    """One method. What all have in common."""

    method: str
    framing: Framing = SSE
    headers: Sequence[tuple[str, str]] = ()
    error_family: str = "gemini"
    tail_bytes: int = 0

    def path(self, model: str, *, stream: bool) -> str:
        """The model and the method stand in the path."""
        return f"/v1beta/models/{quote(model.removeprefix('models/'), safe='')}:{self.method}"

    def classify_event(self, data: bytes, event: str) -> EventKind:
        """Nothing is ever streamed."""
        raise ValueError(f"{self.method} is not streamed")

    def is_complete(self, tail: bytes) -> bool:
        """Nothing is ever streamed."""
        return True

    def read_stream_usage(self, tail: bytes) -> Usage | None:
        """Nothing is ever streamed."""
        return None

    def read_error(self, body: bytes) -> str | None:
        """The message of `{"error": {…}}`."""
        return gemini_errors.read_error(body)

    def classify_error(self, body: bytes) -> Failure | None:
        """The class that an error's status or words tell."""
        return gemini_errors.classify_error(body)

    def with_model(self, body: bytes, model: str) -> bytes:
        """As it is: answers name no model."""
        return body
