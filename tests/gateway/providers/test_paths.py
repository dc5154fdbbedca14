"""Where providers whose paths are their own have what a dialect has elsewhere."""

import pytest

from gateway.config.snapshot import ProviderTarget
from gateway.providers.table import PROVIDERS
from gateway.schemas.table import GEMINI, OPENAI_CHAT, OPENAI_COMPLETIONS, OPENAI_EMBEDDINGS, OPENAI_RESPONSES


def path(target: ProviderTarget, dialect_path: str, model: str = "m") -> str:
    make_path = PROVIDERS[target.provider].make_path
    assert make_path is not None
    return make_path(target, dialect_path, model)


def azure(api_version: str = "", base_url: str = "https://r.openai.azure.com:443") -> ProviderTarget:
    return ProviderTarget(provider="azure_openai", base_url=base_url, api_version=api_version)


@pytest.mark.parametrize(
    ("api_version", "dialect", "expected"),
    [
        ("", OPENAI_CHAT, "/openai/v1/chat/completions"),
        ("", OPENAI_RESPONSES, "/openai/v1/responses"),
        ("preview", OPENAI_RESPONSES, "/openai/v1/responses?api-version=preview"),
        ("2024-10-21", OPENAI_CHAT, "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21"),
        ("2024-10-21", OPENAI_COMPLETIONS, "/openai/deployments/gpt-4o/completions?api-version=2024-10-21"),
        ("2024-10-21", OPENAI_EMBEDDINGS, "/openai/deployments/gpt-4o/embeddings?api-version=2024-10-21"),
        ("2025-04-01-preview", OPENAI_RESPONSES, "/openai/responses?api-version=2025-04-01-preview"),
    ],
)
def test_azure(api_version: str, dialect: object, expected: str) -> None:
    asked = dialect.path("gpt-4o", stream=True)  # type: ignore[attr-defined]  # each of them has one
    assert path(azure(api_version), asked, "gpt-4o") == expected
    with_root = azure(api_version, "https://r.openai.azure.com:443/openai")
    assert "/openai" + path(with_root, asked, "gpt-4o") == expected


def test_names_of_deployments_cannot_lead_elsewhere() -> None:
    asked = OPENAI_CHAT.path("../x?y", stream=False)
    assert path(azure("2024-10-21"), asked, "../x?y").startswith("/openai/deployments/..%2Fx%3Fy/chat/completions?")


@pytest.mark.parametrize(("stream", "operation"), [(False, "generateContent"), (True, "streamGenerateContent?alt=sse")])
@pytest.mark.parametrize("model", ["gemini-2.5-pro", "models/gemini-2.5-pro"])
def test_vertex(model: str, stream: bool, operation: str) -> None:
    target = ProviderTarget(provider="vertex_ai", base_url="https://a", project="p", region="global")
    expected = f"/v1/projects/p/locations/global/publishers/google/models/gemini-2.5-pro:{operation}"
    assert path(target, GEMINI.path(model, stream=stream), model) == expected


def test_deepseek_has_no_version_in_its_paths() -> None:
    target = ProviderTarget(provider="deepseek", base_url="https://api.deepseek.com:443")
    assert path(target, OPENAI_CHAT.path("deepseek-chat", stream=False)) == "/chat/completions"
