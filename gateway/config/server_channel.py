"""The way to a config server: plain or TLS, with a token or without."""

from collections.abc import Sequence

import grpc
from grpc import aio

from gateway.bootstrap import ServerCredentials


def open_channel(server: str, shown: ServerCredentials, options: Sequence[tuple[str, int]]) -> aio.Channel:
    """A channel to `host:port`. Raises ServerCredentialsError for a file that cannot be read."""
    credentials = grpc.ssl_channel_credentials(*shown.read_tls()) if shown.uses_tls else None
    if token := shown.read_token():
        # Without TLS only to this machine, which grpcio sees to.
        credentials = grpc.composite_channel_credentials(
            credentials or grpc.local_channel_credentials(), grpc.access_token_call_credentials(token)
        )
    if credentials is None:
        return aio.insecure_channel(server, options=options)
    return aio.secure_channel(server, credentials, options=options)
