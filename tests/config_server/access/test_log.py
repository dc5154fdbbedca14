"""What the log of a guarded server says of callers whose headers are no text."""

import asyncio
from pathlib import Path

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ResponseReceived, StreamEnded, TrailersReceived

from tests.config_server.access.principals import write
from tests.config_server.server_process import server_process


async def status_of(address: str, authorization: bytes) -> str:
    """The gRPC status of a call that gRPC's own clients would not send."""
    reader, writer = await asyncio.open_connection(*address.rsplit(":", 1))
    connection = H2Connection(H2Configuration(header_encoding=None, validate_outbound_headers=False))
    connection.initiate_connection()
    headers = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", b"/janua.config.v1.ConfigService/ListNodes"),
        (b":authority", address.encode()),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
        (b"authorization", authorization),
    ]
    connection.send_headers(1, headers)
    connection.send_data(1, bytes(5), end_stream=True)
    status = ""
    try:
        async with asyncio.timeout(10):
            while True:
                writer.write(connection.data_to_send())
                for event in connection.receive_data(await reader.read(65536)):
                    if isinstance(event, ResponseReceived | TrailersReceived):
                        status = dict(event.headers).get(b"grpc-status", b"").decode()
                    if isinstance(event, StreamEnded):
                        return status
    finally:
        writer.close()


async def test_a_token_that_is_no_text_is_not_logged(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    store, access = f"sqlite:///{tmp_path / 'config.db'}", write(tmp_path / "access.yaml")
    options = ("--listen", "127.0.0.1:0", "--store", store, "--access-file", str(access))
    async with server_process(*options) as server:
        for token in (b"Bearer hunter2-\xff\xfe", b"Bearer hunter2-\xc3\xb6", b"Bearer hunter2-\x00\n"):
            assert await status_of(server.address, token) == "16"
    told = capfd.readouterr().err
    assert told.count("a call was refused") == 3
    assert "hunter2" not in told
