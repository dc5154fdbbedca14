"""Who makes the call that is being answered. Set once by the guard; without one, everybody may do everything."""

from contextvars import ContextVar
from typing import Final

from google.rpc import code_pb2

from config_server.access.principal import Principal, Role
from config_server.errors import ApiError

CALLER: Final[ContextVar[Principal | None]] = ContextVar("CALLER", default=None)


def may_write_secrets() -> bool:
    caller = CALLER.get()
    return caller is None or caller.may_write_secrets


def may_see_configuration() -> bool:
    """Whether the caller may subscribe to resources, and not only to which nodes there are."""
    caller = CALLER.get()
    return caller is None or caller.role is not Role.CLIENT


def check_node_id(node_id: str) -> None:
    """Raises ApiError if the caller has the credentials of another node."""
    caller = CALLER.get()
    if caller is None or caller.may_be(node_id):
        return
    text = f"{caller.name} may not be node {node_id!r}: list the id under node_ids of {caller.name} in the access file"
    raise denied("NODE_ID_NOT_ALLOWED", text)


def denied(reason: str, text: str) -> ApiError:
    return ApiError(code_pb2.PERMISSION_DENIED, reason, text)
