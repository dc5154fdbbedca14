"""What the node says of itself to clients of the Open Inference Protocol."""

from importlib.metadata import version

from gateway.schemas.open_inference.dialect import ServerMetadata


def server_metadata() -> ServerMetadata:
    """Name and version. Which extensions there are depends on the backends."""
    return ServerMetadata(name="janua", version=version("janua"))
