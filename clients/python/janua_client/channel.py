"""Channels to Janua's gRPC servers, with the options that every client of them needs."""

from collections.abc import Sequence

import grpc

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


def open_channel(address: str) -> grpc.aio.Channel:
    """Opens a plain-text channel to `host:port`, or any gRPC name such as `unix:PATH`. Connects with the first call.

    Must be called in a running event loop; whoever calls it closes it.
    """
    return grpc.aio.insecure_channel(address, options=_OPTIONS)
