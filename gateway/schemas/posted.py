"""What dialects have in common whose requests are posted to one path and name their model in a field."""

from dataclasses import dataclass

from gateway.schemas.openai.fields import set_request_model, without_duplicate_model


@dataclass(frozen=True, slots=True)
class PostedToOnePath:
    """Half of a `Dialect`."""

    posted_to: str

    def path(self, model: str, *, stream: bool) -> str:
        """The same for every model."""
        return self.posted_to

    def with_request_model(self, body: bytes, asked: str, model: str) -> bytes:
        """The request with that `model`."""
        return without_duplicate_model(body, model) if model == asked else set_request_model(body, model)
