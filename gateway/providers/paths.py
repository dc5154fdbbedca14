"""Where providers whose paths are not those of the dialect have the same operations. Pure.

Each function is told the dialect's path, with its query, and the provider's name of the model.
"""

from urllib.parse import quote

from gateway.config.snapshot import ProviderTarget

_OF_GEMINI = "/v1beta/models/"
_OF_DEPLOYMENTS = frozenset({"/chat/completions", "/completions", "/embeddings"})


def path_without_version(target: ProviderTarget, path: str, model: str) -> str:
    """The path without its `/v1`."""
    return path.removeprefix("/v1")


def azure_path(target: ProviderTarget, path: str, model: str) -> str:
    """Azure's v1 API, or, where `api_version` is a date, the older one, which knows models as deployments."""
    root = "" if target.base_url.endswith("/openai") else "/openai"
    version = target.api_version
    if not version[:1].isdigit():
        return f"{root}{path}?api-version={version}" if version else f"{root}{path}"
    operation = path.removeprefix("/v1")
    deployment = f"/deployments/{quote(model, safe='')}" if operation in _OF_DEPLOYMENTS else ""
    return f"{root}{deployment}{operation}?api-version={version}"


def vertex_path(target: ProviderTarget, path: str, model: str) -> str:
    """Vertex AI's path of a model that Google publishes."""
    operation = path.removeprefix(_OF_GEMINI)
    return f"/v1/projects/{target.project}/locations/{target.region}/publishers/google/models/{operation}"
