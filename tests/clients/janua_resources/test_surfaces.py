"""Paths are what nodes take them for: compared with the tables that the nodes themselves work with."""

from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from janua.inference.v1 import inference_service_pb2
from janua_resources.surfaces import (
    Surface,
    inference_methods,
    is_for_model,
    is_inference_service,
    model_in_path,
    surface_of,
)

from gateway.listeners.model_list import is_model_path
from gateway.listeners.surfaces import (
    GEMINI_PREFIXES,
    GEMINI_SURFACES,
    RELAYED_SURFACES,
    SURFACES,
    RelayedSurface,
    find_surface,
)
from gateway.schemas.open_inference.paths import GRPC_SERVICE, ModelAction, ModelPath, ServerAction, match_path

OWN_METHODS = {"ListModels"}
SEGMENTS = st.sampled_from(
    ["v1", "v2", "models", "versions", "health", "live", "ready", "infer", "iris", "1", "a%2Fb", ""]
)


def test_paths_of_dialects_are_for_inference() -> None:
    for path in SURFACES:
        assert surface_of(path) is Surface.INFERENCE
        assert inference_methods(path) == {"POST"}
        assert model_in_path(path) == ""


@pytest.mark.parametrize(("path", "surface"), RELAYED_SURFACES.items())
def test_paths_that_are_relayed_are_for_models_where_nodes_read_one(path: str, surface: RelayedSurface) -> None:
    assert surface_of(path) is (Surface.RELAYED if surface.names_model else Surface.PASSED_THROUGH)
    assert is_for_model(path) is surface.names_model
    if surface.names_model:
        assert inference_methods(path) == surface.methods
        assert model_in_path(path) == ""


@pytest.mark.parametrize("prefix", GEMINI_PREFIXES)
@pytest.mark.parametrize("method", GEMINI_SURFACES)
@pytest.mark.parametrize("model", ["gemini-3-pro", "tunedModels/mine", "gemma3:270m", "a b"])
def test_paths_of_gemini_are_for_inference_and_name_the_model(prefix: str, method: str, model: str) -> None:
    path = f"{prefix}{quote(model, safe='/:')}:{method}"
    assert surface_of(path) is Surface.INFERENCE
    assert inference_methods(path) == {"POST"}
    assert model_in_path(path) == model


@settings(deadline=None)  # a busy machine is no failure
@given(
    st.sampled_from(["/v1beta/models/", "/v1/models/", "/v1/model/", "/"]),
    st.sampled_from(["", "m", "a/b", "m:x", "m:"]),
    st.sampled_from([":generateContent", ":streamGenerateContent", ":other", ":", "", "/generateContent"]),
)
def test_paths_of_gemini_are_those_that_nodes_take(prefix: str, model: str, end: str) -> None:
    path = prefix + model + end
    if find_surface(path) is not None and model:
        assert surface_of(path) is Surface.INFERENCE
    elif model:
        assert surface_of(path) is not Surface.INFERENCE


def test_every_method_of_the_typed_api_is_known() -> None:
    service = inference_service_pb2.DESCRIPTOR.services_by_name["InferenceService"]
    assert is_inference_service(service.full_name)
    for method in service.methods:
        expected = Surface.OWN if method.name in OWN_METHODS else Surface.INFERENCE
        assert surface_of(f"/{service.full_name}/{method.name}") is expected


def test_every_method_of_the_open_inference_protocol_is_known() -> None:
    assert is_inference_service(GRPC_SERVICE)
    for action in ModelAction:
        assert surface_of(action.grpc_path) is Surface.INFERENCE
    for method in ("ServerLive", "ServerReady", "ServerMetadata"):
        assert surface_of(f"/{GRPC_SERVICE}/{method}") is Surface.OWN
    assert surface_of(f"/{GRPC_SERVICE}/RepositoryIndex") is Surface.PASSED_THROUGH


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(SEGMENTS, max_size=7).map(lambda segments: "/" + "/".join(segments)))
def test_paths_of_the_open_inference_protocol_are_those_that_nodes_take(path: str) -> None:
    match match_path(path.encode()):
        case ModelPath() as found:
            assert surface_of(path) is Surface.INFERENCE
            assert inference_methods(path) == {found.action.http_method}
            assert model_in_path(path) == found.names()[0]
        case ServerAction():
            assert surface_of(path) is Surface.OWN
        case None:
            assert surface_of(path) is not Surface.INFERENCE
            assert model_in_path(path) == ""


@pytest.mark.parametrize(
    ("path", "surface"),
    [
        ("/v1/models", Surface.OWN),
        ("/v1/models/", Surface.OWN),
        ("/v1/models/gemma-3", Surface.OWN),
        ("/v1/modelsx", Surface.PASSED_THROUGH),
        ("/v1beta/models", Surface.OWN),
        ("/v1beta/models/gemma-3", Surface.OWN),
        ("/v1beta/models/gemma-3:unheardOf", Surface.PASSED_THROUGH),
        ("/v1beta/modelsx", Surface.PASSED_THROUGH),
        ("/v1beta/files", Surface.PASSED_THROUGH),
        ("/api/tags", Surface.OWN),
        ("/api/tags/x", Surface.PASSED_THROUGH),
        ("/grpc.health.v1.Health/Check", Surface.OWN),
        ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Surface.OWN),
        ("/my.pkg.Service/Call", Surface.PASSED_THROUGH),
        ("/v1/chat/completions/", Surface.PASSED_THROUGH),
        ("/", Surface.PASSED_THROUGH),
    ],
)
def test_what_the_node_answers_itself_and_what_it_passes_through(path: str, surface: Surface) -> None:
    assert surface_of(path) is surface
    if find_surface(path) is None and not path.startswith("/grpc"):
        assert is_model_path(path) is (surface is Surface.OWN)
