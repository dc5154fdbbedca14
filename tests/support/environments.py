"""Environments of their own beside ours, for programs that cannot live in it: `make components` makes them."""

import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment; it need not be there."""

    path: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.program("python")

    def program(self, name: str) -> Path:
        """Where a program is, if it is installed."""
        return self.path / "bin" / name

    def package(self, name: str) -> Path:
        """Where a Python package is, if it is installed."""
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        return self.path / "lib" / version / "site-packages" / name


MLSERVER = Environment(Path(sys.prefix) / "mlserver")
"""MLServer and tritonclient. Each defines the protobuf package `inference`, as we do; one process can have one only."""

FRAMEWORKS = Environment(Path(sys.prefix) / "frameworks")
"""LangChain and Pydantic AI, with the versions of OpenAI's and Anthropic's clients that they want."""

INTEROP = Environment(Path(sys.prefix) / "interop")
"""gRPC with its status service for clients of discovery, and the protobuf files of all of Envoy that it needs."""

NODE_MODULES = Path(sys.prefix) / "node" / "node_modules"
"""Clients for Node."""
