"""The command `chat`: a conversation with a model on a terminal, or one answer in a pipe."""

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Annotated

import typer

from janua_client.cli.chat_transports import ChatTransport, GrpcChat, HttpChat, Turn
from janua_client.cli.failures import CommandError, usage_error
from janua_client.cli.options import Output, host_and_port
from janua_client.cli.output import OutputFormat, print_data, stderr, stdout
from janua_client.cli.printable import shown
from janua_client.cli.tls_files import checked
from janua_client.tls import Tls

_NAMES = ("x-request-id", "x-janua-route", "x-janua-service", "x-janua-endpoint", "x-janua-attempts")


def chat(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model's name, as clients use it.")],
    message: Annotated[
        str, typer.Option("--message", "-m", envvar="JANUA_MESSAGE", help="Ask this, print the answer, and end.")
    ] = "",
    system: Annotated[str, typer.Option(envvar="JANUA_SYSTEM", help="Instructions to the model.")] = "",
    grpc: Annotated[bool, typer.Option("--grpc", envvar="JANUA_CHAT_GRPC", help="Ask over gRPC, not HTTP.")] = False,
    url: Annotated[
        str, typer.Option(envvar="JANUA_URL", metavar="URL", help="The gateway over HTTP.")
    ] = "http://127.0.0.1:8080",
    address: Annotated[
        str,
        typer.Option(
            envvar="JANUA_ADDRESS", metavar="HOST:PORT", callback=host_and_port, help="The gateway over gRPC."
        ),
    ] = "127.0.0.1:8081",
    api_key: Annotated[
        str, typer.Option(envvar="JANUA_API_KEY", show_default=False, help="Your key, if the route wants one.")
    ] = "",
    gateway_ca: Annotated[
        str,
        typer.Option(
            envvar="JANUA_GATEWAY_CA",
            metavar="FILE|system",
            show_default=False,
            help="The gateway has TLS: trust this CA, PEM, or the system's. For HTTP give an https:// URL too.",
        ),
    ] = "",
    gateway_cert: Annotated[
        Path | None,
        typer.Option(envvar="JANUA_GATEWAY_CERT", metavar="FILE", help="Your certificate for the gateway, PEM."),
    ] = None,
    gateway_key: Annotated[
        Path | None,
        typer.Option(
            envvar="JANUA_GATEWAY_KEY", metavar="FILE", help="Its private key, if it is not in --gateway-cert."
        ),
    ] = None,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Talk to a model through a gateway. On a terminal a conversation; with -m or from a pipe one answer.

    Examples:

      janua chat gemma-3
      janua chat gemma-3 --grpc -m "Why is the sky blue?"
      echo "Translate to Latin: the door is open" | janua chat gemma-3
      janua chat gemma-3 --url https://ai.example --gateway-ca ca.pem
    """
    tls = _tls(gateway_ca, gateway_cert, gateway_key)
    if tls is not None and not grpc and not url.startswith("https://"):
        raise usage_error("certificates of a gateway are for TLS: give --url https://HOST:PORT, or --grpc")
    question = message or ("" if sys.stdin.isatty() else sys.stdin.read().strip())
    if not question and not sys.stdin.isatty():
        raise usage_error("nothing to ask: give -m TEXT, or text on standard input")
    if not question and output is not OutputFormat.TABLE:
        raise usage_error("a conversation has no result to print: give -m TEXT with -o json")
    start = [Turn("system", system)] if system else []
    with asyncio.Runner() as runner:
        transport = runner.run(_open(grpc, url, address, api_key, tls))
        try:
            if question:
                runner.run(_answer_once(transport, model, [*start, Turn("user", question)], output))
            else:
                _converse(runner, transport, model, start)
        finally:
            runner.run(transport.__aexit__(None, None, None))


def _tls(ca: str, certificate: Path | None, key: Path | None) -> Tls | None:
    """How the gateway is trusted; None where nothing is said of it. Raises `CommandError`."""
    if not ca and certificate is None and key is None:
        return None
    if certificate is None and key is not None:
        raise usage_error("--gateway-key is the key of a certificate: give --gateway-cert too")
    ca_file = Path(ca) if ca not in ("", "system") else None
    return checked(Tls(ca_file=ca_file, certificate_file=certificate, key_file=key))


async def _open(grpc: bool, url: str, address: str, api_key: str, tls: Tls | None) -> ChatTransport:
    transport: ChatTransport = GrpcChat(address, api_key, tls) if grpc else HttpChat(url, api_key, tls)
    return await transport.__aenter__()


async def _answer_once(transport: ChatTransport, model: str, turns: Sequence[Turn], output: OutputFormat) -> None:
    headers: dict[str, str] = {}
    if output is OutputFormat.TABLE:
        await _print_answer(transport, model, turns, headers.update)
        return
    async with aclosing(transport.answer(model, turns, headers.update)) as texts:
        text = "".join([each async for each in texts])
    print_data({"model": model, "text": text, "headers": _ours(headers)}, output)


def _ours(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: headers[name] for name in _NAMES if name in headers}


async def _print_answer(
    transport: ChatTransport, model: str, turns: Sequence[Turn], on_headers: Callable[[Mapping[str, str]], None]
) -> str:
    """Prints the pieces as they come and returns the whole. A model's words must not steer a terminal."""
    pieces: list[str] = []
    printable = shown if stdout().is_terminal else str
    async with aclosing(transport.answer(model, turns, on_headers)) as texts:
        async for text in texts:
            print(printable(text), end="", flush=True)
            pieces.append(text)
    print()
    return "".join(pieces)


def _converse(runner: asyncio.Runner, transport: ChatTransport, model: str, start: Sequence[Turn]) -> None:
    """Asks and answers until the end of the input. Ctrl-C ends an answer, Ctrl-D the conversation."""
    import readline  # noqa: F401  # gives `input` a history and line editing

    stderr().print(f"Talking to {model}. Ctrl-C stops an answer, Ctrl-D ends.")
    turns = list(start)
    while True:
        try:
            question = input("> ").strip()
        except EOFError:
            print()
            return
        except KeyboardInterrupt:
            print()
            continue
        if question:
            turns += _exchange(runner, transport, model, [*turns, Turn("user", question)])


def _exchange(runner: asyncio.Runner, transport: ChatTransport, model: str, turns: Sequence[Turn]) -> Sequence[Turn]:
    """One question and its answer; nothing if there was no whole answer."""
    try:
        text = runner.run(_print_answer(transport, model, turns, lambda _: None))
    except KeyboardInterrupt:
        print()
        return ()
    except CommandError as error:
        stderr().print(f"\n{error}")
        return ()
    return (turns[-1], Turn("assistant", text))
