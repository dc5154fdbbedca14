"""`janua chat`: one answer over HTTP and over gRPC, in a pipe and in a conversation; and what goes wrong."""

import asyncio
import json
import os
import pty
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from aiohttp import web
from janua.inference.v1.chat_pb2 import ChoiceDelta, StreamChatCompletionRequest, StreamChatCompletionResponse
from janua_client.cli.chat_transports import HttpChat, Turn, sse_data

from tests.clients.janua_client.cli_runner import JANUA, janua
from tests.clients.janua_client.scripted_server import serving

Context = grpc.aio.ServicerContext[Any, Any]
KEY_ADVICE = "give a key with --api-key or JANUA_API_KEY"
ROUTE_ADVICE = "`janua explain --model MODEL` says why"
HEADERS = {"x-janua-route": "chat", "x-janua-endpoint": "127.0.0.1:9001", "x-other": "not ours"}


def events(*texts: str, done: bool = True) -> bytes:
    pieces = [json.dumps({"choices": [{"delta": {"content": text}}]}) for text in texts]
    return b"".join(f"data: {piece}\n\n".encode() for piece in (*pieces, *(["[DONE]"] if done else [])))


@asynccontextmanager
async def http_gateway(status: int = 200, body: bytes = b"", **kept: list[Any]) -> AsyncIterator[str]:
    """Answers every request alike. `requests` takes what was asked, `keys` the credentials."""

    async def answer(request: web.Request) -> web.Response:
        kept.get("requests", []).append(await request.json())
        kept.get("keys", []).append(request.headers.get("authorization"))
        return web.Response(status=status, body=body, headers=HEADERS)

    async with http_server(answer) as url:
        yield url


@asynccontextmanager
async def http_server(answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def grpc_answer(
    request: StreamChatCompletionRequest, context: Context
) -> AsyncIterator[StreamChatCompletionResponse]:
    await context.send_initial_metadata((("x-janua-route", "chat"),))
    asked = [f"{message.role}:{message.content[0].text}" for message in request.request.messages]
    yield StreamChatCompletionResponse(choices=[ChoiceDelta(content=f"{request.request.model} ")])
    yield StreamChatCompletionResponse(choices=[ChoiceDelta(content=" ".join(asked))])


async def test_one_answer_over_http() -> None:
    requests: list[Any] = []
    keys: list[Any] = []
    async with http_gateway(body=events("Be", "cause."), requests=requests, keys=keys) as url:
        question = ("-m", "Why?", "--system", "Be brief.")
        done = await janua("chat", "m", *question, "--url", url + "/", "--api-key", "k")
    assert (done.code, done.out, done.err) == (0, "Because.\n", "")
    assert keys == ["Bearer k"]
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    assert requests == [{"model": "m", "messages": messages, "stream": True}]


async def test_the_question_may_come_through_a_pipe() -> None:
    requests: list[Any] = []
    keys: list[Any] = []
    async with http_gateway(body=events("ok"), requests=requests, keys=keys) as url:
        done = await janua("chat", "m", "--url", url, stdin="Why\nnot?\n")
    assert (done.code, done.out) == (0, "ok\n")
    assert requests[0]["messages"] == [{"role": "user", "content": "Why\nnot?"}]
    assert keys == [None]


async def test_json_has_the_text_and_our_headers() -> None:
    async with http_gateway(body=events("a", "b")) as url:
        done = await janua("chat", "m", "-m", "Why?", "--url", url, "-o", "json")
    headers = {"x-janua-route": "chat", "x-janua-endpoint": "127.0.0.1:9001"}
    assert json.loads(done.out) == {"model": "m", "text": "ab", "headers": headers}


async def test_one_answer_over_grpc() -> None:
    async with serving(StreamChatCompletion=grpc_answer) as address:
        done = await janua("chat", "m", "-m", "Why?", "--system", "S", "--grpc", "--address", address)
        data = await janua("chat", "m", "-m", "Why?", "--grpc", "--address", address, "-o", "json")
    assert (done.code, done.out, done.err) == (0, "m 1:S 3:Why?\n", "")
    assert json.loads(data.out) == {"model": "m", "text": "m 3:Why?", "headers": {"x-janua-route": "chat"}}


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (401, b'{"error":{"message":"no key"}}', f"the gateway answered 401: no key; {KEY_ADVICE}"),
        (403, b'{"error":{"message":"not yours"}}', f"the gateway answered 403: not yours; {KEY_ADVICE}"),
        (404, b'{"error":{"message":"no route\\nhere"}}', f"the gateway answered 404: no route here; {ROUTE_ADVICE}"),
        (502, b"<html>bad\ngateway</html>", "the gateway answered 502: <html>bad gateway</html>"),
        (500, b'["odd"]', 'the gateway answered 500: ["odd"]'),
        (200, events("He", done=False), "the answer was cut off: the connection ended before it did"),
        (200, b'data: {"error":{"message":"the model went away"}}\n\n', "the answer broke off: the model went away"),
        (200, b"data: {\n\n", "the gateway's answer is not understood: it is not OpenAI's stream of JSON events"),
        (200, b"data: []\n\n", "the gateway's answer is not understood: it is not OpenAI's stream of JSON events"),
    ],
)
async def test_failures_over_http_are_one_line_that_says_what_to_do(status: int, body: bytes, expected: str) -> None:
    async with http_gateway(status, body) as url:
        done = await janua("chat", "m", "-m", "Why?", "--url", url)
    assert done.code == 1
    assert done.err == f"janua chat: {expected}\n"


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, f"; {KEY_ADVICE}"),
        (grpc.StatusCode.PERMISSION_DENIED, f"; {KEY_ADVICE}"),
        (grpc.StatusCode.NOT_FOUND, f"; {ROUTE_ADVICE}"),
        (grpc.StatusCode.INTERNAL, ""),
    ],
)
async def test_failures_over_grpc_are_one_line_that_says_what_to_do(code: grpc.StatusCode, advice: str) -> None:
    async def stream(request: Any, context: Context) -> AsyncIterator[StreamChatCompletionResponse]:
        await context.abort(code, "because\nof this")
        yield StreamChatCompletionResponse()

    async with serving(StreamChatCompletion=stream) as address:
        done = await janua("chat", "m", "-m", "Why?", "--grpc", "--address", address)
    assert done.code == 1
    assert done.err == f"janua chat: the gateway answered {code.name}: because of this{advice}\n"


@pytest.mark.parametrize("way", [("--url", "http://127.0.0.1:1"), ("--grpc", "--address", "127.0.0.1:1")])
async def test_a_gateway_that_is_not_there(way: tuple[str, ...]) -> None:
    done = await janua("chat", "m", "-m", "Why?", *way)
    assert done.code == 1
    assert done.err.startswith(f"janua chat: cannot reach the gateway at {way[-1]} (")
    assert done.err.endswith("start one with `janua up`, or name another with --url, or --address for gRPC\n")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("chat",), "Missing argument"),
        (("chat", "m"), "nothing to ask: give -m TEXT"),
        (("chat", "m", "-m", "x", "--address", "nowhere"), "'nowhere' is not HOST:PORT"),
        (("chat", "m", "-m", "x", "-o", "xml"), "xml"),
    ],
)
async def test_wrong_usage(arguments: tuple[str, ...], expected: str) -> None:
    done = await janua(*arguments)
    assert done.code == 2
    assert expected in done.err
    assert done.err.count("\n") == 1


async def test_a_url_that_is_none() -> None:
    done = await janua("chat", "m", "-m", "x", "--url", "nonsense")
    assert done.code == 1
    assert done.err == "janua chat: 'nonsense' is not a URL: --url wants http://HOST:PORT\n"


async def test_a_conversation_on_a_terminal_remembers_what_was_said() -> None:
    ours, theirs = pty.openpty()
    async with serving(StreamChatCompletion=grpc_answer) as address:
        process = await asyncio.create_subprocess_exec(
            *(JANUA, "chat", "m", "--grpc", "--address", address),
            stdin=theirs,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"TERM": "dumb"},
        )
        os.close(theirs)
        os.write(ours, b"one\n\ntwo\n\x04")
        out, err = await process.communicate()
    os.close(ours)
    assert process.returncode == 0
    text = out.decode()
    assert "m 3:one\n" in text
    assert "m 3:one 4:m 3:one 3:two\n" in text
    assert "Talking to m" in err.decode()


@pytest.mark.parametrize("is_terminal", [True, False], ids=["terminal", "pipe"])
async def test_a_models_words_do_not_steer_a_terminal(is_terminal: bool) -> None:
    ours, theirs = pty.openpty()
    async with serving(StreamChatCompletion=grpc_answer) as address:
        process = await asyncio.create_subprocess_exec(
            *(JANUA, "chat", "m", "--grpc", "--address", address, "-m", "\x1b[2Jé"),
            stdout=theirs if is_terminal else asyncio.subprocess.PIPE,
            env={"TERM": "xterm", "PYTHONUTF8": "1"},
        )
        os.close(theirs)
        out, _ = await process.communicate()
    text = (os.read(ours, 65536) if is_terminal else out).decode()
    os.close(ours)
    assert process.returncode == 0
    assert ("\\x1b[2Jé" if is_terminal else "\x1b[2Jé") in text
    assert is_terminal != ("\x1b" in text)


async def test_turns_go_over_one_connection_even_if_the_end_of_an_answer_is_late() -> None:
    connections = set()

    async def answer(request: web.Request) -> web.StreamResponse:
        connections.add(request.transport)
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(events("hi"))
        await asyncio.sleep(0.05)
        return response

    async with http_server(answer) as url, HttpChat(url, "") as chat:
        for _ in range(2):
            assert [text async for text in chat.answer("m", [Turn("user", "a")], lambda _: None)] == ["hi"]
    assert len(connections) == 1


async def test_events_are_found_however_the_bytes_are_cut() -> None:
    whole = 'data: {"a": "é"}\r\n\r\n: a comment\n\nevent: x\ndata: one\ndata:two\n\ndata: unfinished'.encode()

    async def cut(size: int) -> AsyncIterator[bytes]:
        for start in range(0, len(whole), size):
            yield whole[start : start + size]

    for size in range(1, len(whole) + 1):
        assert [data async for data in sse_data(cut(size))] == ['{"a": "é"}', "one\ntwo"]


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (("--gateway-ca", "system"), 2, "give --url https://HOST:PORT, or --grpc"),
        (("--grpc", "--gateway-key", "k.pem"), 2, "give --gateway-cert too"),
        (("--grpc", "--gateway-ca", "none.pem"), 1, "none.pem: No such file or directory: PEM files are wanted"),
        (("--url", "https://h", "--gateway-cert", "/dev/null"), 1, "/dev/null: "),
    ],
)
async def test_certificates_that_cannot_be_used(options: tuple[str, ...], code: int, text: str) -> None:
    done = await janua("chat", "m", "-m", "Hi", *options)
    assert (done.code, text in done.err, done.out) == (code, True, "")
    assert "Traceback" not in done.err
