"""Which paths are the protocol's, what they name, and which names can stand in a path."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.schemas.open_inference.dialect import MalformedTensorError
from gateway.schemas.open_inference.paths import ModelAction, ModelPath, ServerAction, match_path, model_path


@pytest.mark.parametrize(
    ("path", "target"),
    [
        (b"/v2", ServerAction.METADATA),
        (b"/v2/health/live", ServerAction.LIVE),
        (b"/v2/health/ready", ServerAction.READY),
        (b"/v2/models/m", ModelPath(action=ModelAction.METADATA, model=b"m")),
        (b"/v2/models/m/ready", ModelPath(action=ModelAction.READY, model=b"m")),
        (b"/v2/models/m/infer", ModelPath(action=ModelAction.INFER, model=b"m")),
        (b"/v2/models/m/versions/1", ModelPath(action=ModelAction.METADATA, model=b"m", version=b"1")),
        (b"/v2/models/m/versions/1/ready", ModelPath(action=ModelAction.READY, model=b"m", version=b"1")),
        (b"/v2/models/m/versions/1/infer", ModelPath(action=ModelAction.INFER, model=b"m", version=b"1")),
        (b"/v2/models/ready/ready", ModelPath(action=ModelAction.READY, model=b"ready")),
        (b"/v2/models/m/versions/ready", ModelPath(action=ModelAction.METADATA, model=b"m", version=b"ready")),
    ],
)
def test_paths(path: bytes, target: ModelPath | ServerAction) -> None:
    assert match_path(path) == target


@pytest.mark.parametrize(
    "path",
    [
        b"/", b"/v1", b"/v2/", b"/v2x", b"/V2", b"/v2/health", b"/v2/health/started", b"/v2/models", b"/v2/models/",
        b"/v2/models/m/", b"/v2/models/m/infer/", b"/v2/models//infer", b"/v2/models/m/versions", b"/v2/chat",
        b"/v2/models/m/versions//infer", b"/v2/models/m/versions/1/2", b"/v2/models/m/generate", b"/x/v2/models/m",
    ],
)  # fmt: skip
def test_other_paths(path: bytes) -> None:
    assert match_path(path) is None


names = st.text(min_size=1, max_size=8).filter(lambda name: name not in (".", "..") and not set(name) & set("/\\"))


@given(names.filter(str.isprintable), names.filter(str.isprintable) | st.just(""), st.sampled_from(ModelAction))
def test_names_survive_a_path(model: str, version: str, action: ModelAction) -> None:
    target = match_path(model_path(action, model, version).encode())
    assert isinstance(target, ModelPath)
    assert (target.action, target.names()) == (action, (model, version))


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a\0b", "a\nb", "\x7f"])
def test_names_that_would_make_another_path(name: str) -> None:
    with pytest.raises(MalformedTensorError, match=r"^model: "):
        model_path(ModelAction.READY, name, "")
    if name:
        with pytest.raises(MalformedTensorError, match=r"^version: "):
            model_path(ModelAction.READY, "m", name)


@pytest.mark.parametrize("name", [b"%FF", b"a%00", b"%0A", b"%C3"])
def test_names_that_are_none(name: bytes) -> None:
    with pytest.raises(MalformedTensorError, match=r"^model: "):
        ModelPath(action=ModelAction.READY, model=name).names()


def test_methods_over_grpc() -> None:
    assert ModelAction.INFER.grpc_path == "/inference.GRPCInferenceService/ModelInfer"
