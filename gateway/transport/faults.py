"""What aiohttp and sockets raise, as our errors with a reason in a few words."""

import os
import socket
import ssl

import aiohttp

from gateway.transport.errors import ConnectError, ConnectionBrokenError

_UNSENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientHttpProxyError)


def transport_error(error: aiohttp.ClientError | OSError) -> ConnectError | ConnectionBrokenError:
    """The error for a request whose sending raised this."""
    is_unsent = isinstance(error, _UNSENT)
    return (ConnectError if is_unsent else ConnectionBrokenError)(_reason(error))


def connection_fault(error: BaseException) -> str:
    """What was wrong with a connection, without addresses and the like."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not accepted: {error.verify_message}"
    # The numbers of these two are not those of the system.
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or 'no handshake'}".lower().replace("_", " ")
    if isinstance(error, socket.gaierror):
        return "host name cannot be resolved"
    if isinstance(error, OSError) and error.errno:
        # The text of the exception itself may be asyncio's, with the address in it.
        return os.strerror(error.errno).lower()
    if isinstance(error, ConnectionError):
        return "connection reset"
    if isinstance(error, OSError):
        return "no connection"  # several addresses, each with a fault of its own
    return type(error).__name__


def _reason(error: aiohttp.ClientError | OSError) -> str:
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return "connection timed out"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "connection closed before the answer"
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return f"egress proxy: {connection_fault(error.os_error)}"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the egress proxy refused with status {error.status}"
    if isinstance(error, aiohttp.ClientResponseError):
        return "the answer is not valid HTTP"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the answer is cut off or malformed"
    return connection_fault(error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error)
