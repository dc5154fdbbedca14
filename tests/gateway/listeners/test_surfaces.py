"""Which path is whose, and what is read of a request before anything else."""

import json

import pytest

from gateway.errors import InvalidRequestError
from gateway.listeners.surfaces import (
    GEMINI_SURFACES,
    RELAYED_SURFACES,
    SURFACES,
    ChatSurface,
    Head,
    WholeSurface,
    find_relayed_surface,
    find_surface,
)
from gateway.schemas.table import GEMINI, SCHEMAS
from gateway.types import Operation

HELLO = b'{"model": "m"}'
STREAM = b'{"model": "m", "stream": true}'


@pytest.mark.parametrize("path", SURFACES)
def test_every_path_has_its_surface(path: str) -> None:
    surface = find_surface(path)
    assert surface is SURFACES[path]
    assert find_surface(f"{path}/") is None


def test_every_dialect_of_clients_is_one_that_a_backend_can_speak() -> None:
    spoken = {
        id(dialect)
        for family in SCHEMAS.values()
        for dialect in (*family.chat, *family.embeddings, *family.rerank, *family.count_tokens)
    }
    for surface in (*SURFACES.values(), *GEMINI_SURFACES.values()):
        assert id(surface.dialect) in spoken


def test_requests_are_posted_to_the_path_of_their_surface() -> None:
    for path, surface in SURFACES.items():
        assert surface.dialect.path("m", stream=False) == path


@pytest.mark.parametrize(
    ("path", "is_streaming"),
    [
        ("/v1beta/models/gemini-3-pro:generateContent", False),
        ("/v1beta/models/gemini-3-pro:streamGenerateContent", True),
        ("/v1/models/gemini-3-pro:generateContent", False),
        ("/v1beta/models/tunedModels/mine:generateContent", False),
    ],
)
def test_paths_of_gemini(path: str, is_streaming: bool) -> None:
    surface = find_surface(path)
    assert isinstance(surface, ChatSurface)
    assert surface.dialect is GEMINI
    head = surface.read_head(path, {"alt": "sse"}, b"not even looked at")
    assert head == Head(path.partition("/models/")[2].rpartition(":")[0], is_streaming)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/m",
        "/v1/models/gemma3:270m",
        "/v1beta/models/m:unheardOf",
        "/v2/models/m:generateContent",
        "/m:generateContent",
        "/",
    ],
)
def test_paths_of_nobody(path: str) -> None:
    assert find_surface(path) is None


def test_path_of_gemini_must_name_a_model() -> None:
    surface = GEMINI_SURFACES["generateContent"]
    with pytest.raises(InvalidRequestError, match="must name a model") as error:
        surface.read_head("/v1beta/models/:generateContent", {}, b"{}")
    assert error.value.param == "model"


@pytest.mark.parametrize("query", [{}, {"alt": "json"}])
def test_gemini_streams_events_only(query: dict[str, str]) -> None:
    surface = GEMINI_SURFACES["streamGenerateContent"]
    with pytest.raises(InvalidRequestError, match="alt=sse") as error:
        surface.read_head("/v1beta/models/m:streamGenerateContent", query, b"{}")
    assert error.value.param == "alt"


@pytest.mark.parametrize("path", [path for path, surface in SURFACES.items() if isinstance(surface, ChatSurface)])
def test_body_says_the_model_and_whether_to_stream(path: str) -> None:
    surface = SURFACES[path]
    assert surface.read_head(path, {}, STREAM).is_streaming
    assert not surface.read_head(path, {}, b'{"model": "m", "stream": false}').is_streaming
    silent = surface.read_head(path, {}, HELLO)
    assert silent.model == "m"
    assert silent.is_streaming is (path == "/api/chat")


@pytest.mark.parametrize("path", [path for path, each in SURFACES.items() if isinstance(each, WholeSurface)])
def test_what_comes_whole_is_not_streamed(path: str) -> None:
    assert SURFACES[path].read_head(path, {}, STREAM) == Head("m", is_streaming=False)


@pytest.mark.parametrize(
    ("path", "options", "is_told"),
    [
        ("/v1/chat/completions", None, False),
        ("/v1/chat/completions", {"include_usage": False}, False),
        ("/v1/chat/completions", {"include_usage": True}, True),
        ("/v1/completions", None, False),
        ("/v1/responses", None, True),
        ("/v1/messages", None, True),
        ("/api/chat", None, True),
    ],
)
def test_streams_tell_their_usage_as_the_dialect_has_it(
    path: str, options: dict[str, bool] | None, is_told: bool
) -> None:
    body = json.dumps({"model": "m", "stream": True, "stream_options": options}).encode()
    assert SURFACES[path].read_head(path, {}, body).includes_usage is is_told


@pytest.mark.parametrize("path", SURFACES)
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"model": ""}', b'{"model": 1}'])
def test_body_without_a_model_is_refused(path: str, body: bytes) -> None:
    with pytest.raises(InvalidRequestError):
        SURFACES[path].read_head(path, {}, body)


@pytest.mark.parametrize("path", RELAYED_SURFACES)
def test_what_is_relayed_is_no_dialect(path: str) -> None:
    assert find_relayed_surface(path, []) is RELAYED_SURFACES[path]
    assert find_surface(path) is None


@pytest.mark.parametrize(
    ("path", "operation"),
    [
        ("/v1/files/file-1", Operation.FILES),
        ("/v1/files/file-1/content", Operation.FILES),
        ("/v1/batches/batch_1", Operation.BATCHES),
        ("/v1/batches/batch_1/cancel", Operation.BATCHES),
        ("/v1/filesx", None),
        ("/v1/audio", None),
        ("/v1/audio/speech/", None),
    ],
)
def test_what_lies_below_files_and_batches(path: str, operation: Operation | None) -> None:
    surface = find_relayed_surface(path, [])
    assert (surface.operation if surface else None) is operation


def test_files_of_anthropics_clients_are_not_openais() -> None:
    headers = [(b"anthropic-version", b"2023-06-01")]
    assert find_relayed_surface("/v1/files", headers) is None
    assert find_relayed_surface("/v1/files/file_1", headers) is None
    assert find_relayed_surface("/v1/batches", headers) is not None
