"""The Janua client: typed access to the config server and to gateways, and the `janua` command line.

Names are loaded when they are first used, so that a program pays only for what it touches.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from janua_client.changes import deletion, upsert
    from janua_client.config_client import ConfigClient
    from janua_client.errors import JanuaError
    from janua_client.inference_client import InferenceClient
    from janua_client.messages import assistant, system, user
    from janua_client.tls import Tls

__all__ = [
    "ConfigClient",
    "InferenceClient",
    "JanuaError",
    "Tls",
    "assistant",
    "deletion",
    "system",
    "upsert",
    "user",
]

_MODULES = {
    "ConfigClient": "config_client",
    "Tls": "tls",
    "InferenceClient": "inference_client",
    "JanuaError": "errors",
    "assistant": "messages",
    "deletion": "changes",
    "system": "messages",
    "upsert": "changes",
    "user": "messages",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
