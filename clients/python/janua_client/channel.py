"""Channels to Janua's gRPC servers, with the options that every client of them needs."""

from collections.abc import Sequence

import grpc
from janua_resources.hosts import is_loopback

from janua_client.tls import Tls

_MIB = 1024 * 1024
_LARGEST_MESSAGE = 64 * _MIB  # a batch has at most 16 MiB, but the diffs of its answer may hold it twice

_OPTIONS: Sequence[tuple[str, int]] = (
    ("grpc.max_receive_message_length", _LARGEST_MESSAGE),
    ("grpc.max_send_message_length", _LARGEST_MESSAGE),
    ("grpc.enable_http_proxy", 0),  # proxies set up for web traffic rarely speak gRPC, and never reach loopback
    ("grpc.keepalive_time_ms", 30_000),  # notices a peer that vanished without a word
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 100),  # the defaults of 1 s and 120 s would outlast our own retries
    ("grpc.max_reconnect_backoff_ms", 500),
)


def open_channel(address: str, *, tls: Tls | None = None, token: str = "") -> grpc.aio.Channel:
    """Opens a channel to `host:port`, or any gRPC name such as `unix:PATH`. Connects with the first call.

    `tls` None: in clear. `token` says who calls, and is sent in clear on this machine only. Must be called in a running
    event loop; whoever calls it closes it. Raises as `Tls.ssl_context` does, and `ValueError` for a token that others
    could read on its way.
    """
    credentials = None if tls is None else tls.channel_credentials()
    if token:
        if credentials is None and not _is_local(address):
            raise ValueError(f"the token would go to {address} in plain text: give --tls or --ca")
        credentials = grpc.composite_channel_credentials(
            credentials or grpc.local_channel_credentials(), grpc.access_token_call_credentials(token)
        )
    if credentials is None:
        return grpc.aio.insecure_channel(address, options=_OPTIONS)
    return grpc.aio.secure_channel(address, credentials, options=_OPTIONS)


def _is_local(address: str) -> bool:
    host = address.rpartition(":")[0].removeprefix("[").removesuffix("]")
    return is_loopback(host) or address.startswith("unix:")
