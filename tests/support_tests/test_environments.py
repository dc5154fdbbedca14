"""Where the environments of other programs are, and that their absence is told."""

import sys
from pathlib import Path

import pytest

from tests.support.components import COMPONENTS
from tests.support.environments import MLSERVER, Environment


def test_environment_is_beside_ours() -> None:
    assert MLSERVER.path == Path(sys.prefix) / "mlserver"


def test_what_is_in_an_environment(tmp_path: Path) -> None:
    environment = Environment(tmp_path)
    assert environment.program("mlserver") == tmp_path / "bin" / "mlserver"
    assert environment.python == tmp_path / "bin" / "python"
    packages = environment.package("json").relative_to(tmp_path)
    assert packages.parts == ("lib", Path(sys.executable).resolve().name, "site-packages", "json")


@pytest.mark.parametrize(
    "name",
    [
        *("ai-sdk", "anthropic-node", "grpc-js-xds", "grpc-xds", "langchain", "mlserver", "openai-node"),
        *("pydantic-ai", "tritonclient"),
    ],
)
def test_absent_environment_is_made_by_make_components(name: str) -> None:
    assert COMPONENTS[name].install.endswith("make components")
