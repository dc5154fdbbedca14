"""The command `explain`: which route takes a request, and why not the others."""

import asyncio
import re
from collections.abc import Iterable, Sequence
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

import typer
from janua.config.v1.resource_pb2 import KIND_ROUTE
from janua.config.v1.route_pb2 import Route
from janua_resources.kinds import unwrap
from rich.text import Text

from janua_client.cli.batch import read_batch
from janua_client.cli.failures import usage_error
from janua_client.cli.options import DEFAULT_SERVER, Output, Server
from janua_client.cli.output import Json, OutputFormat, print_data, print_table, stderr
from janua_client.cli.server import connect
from janua_client.route_explanation import Outcome, RequestFacts, RouteVerdict
from janua_client.route_explanation import explain as explain_routes

_PORT = re.compile(r":\d+$")
_STYLES = {Outcome.WINS: "bold green", Outcome.LOSES: "yellow", Outcome.DOES_NOT_MATCH: "dim"}


def explain(
    path: Annotated[
        str, typer.Option(envvar="JANUA_PATH", help="Path, with query parameters. gRPC: /package.Service/Method.")
    ] = "/v1/chat/completions",
    model: Annotated[str, typer.Option(envvar="JANUA_MODEL", help="The model that the request names.")] = "",
    header: Annotated[
        list[str] | None,
        typer.Option(envvar="JANUA_HEADER", metavar="NAME:VALUE", help="A header. May be given several times."),
    ] = None,
    host: Annotated[str, typer.Option(envvar="JANUA_HOST", help="Host header, or gRPC authority.")] = "",
    method: Annotated[str, typer.Option(envvar="JANUA_METHOD", help="HTTP method. gRPC calls are POST.")] = "POST",
    file: Annotated[
        list[str] | None,
        typer.Option(
            "--file", "-f", envvar="JANUA_FILE", metavar="FILE|DIR|-", help="Explain files, not what the server has."
        ),
    ] = None,
    server: Server = DEFAULT_SERVER,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Say which route a request takes and why, and of the others the first condition that does not hold.

    The most specific route wins: by host, path, method, number of headers, number
    of query parameters, model; then priority and name.

    Examples:

      janua explain --model gemma-3
      janua explain --path /v1/embeddings --model bge --header x-tier:gold
      janua explain -f janua.yaml --host ai.example.com --model gemma-3
    """
    request = RequestFacts(
        host=_PORT.sub("", host).lower(),
        method=method.upper(),
        path=urlsplit(path).path,
        headers=_headers(header or ()),
        query=_query(urlsplit(path).query),
        model=model,
    )
    routes = _routes_of_files(file) if file else asyncio.run(_routes_of_server(server))
    verdicts = explain_routes(routes, request)
    if output is OutputFormat.TABLE:
        _print(verdicts, routes)
    else:
        print_data(_data(verdicts, routes), output)


def _headers(texts: Iterable[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for text in texts:
        name, colon, value = text.partition(":")
        if not colon or not name.strip():
            raise usage_error(f"--header {text!r} is not NAME:VALUE")
        name, value = name.strip().lower(), value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _query(text: str) -> dict[str, str]:
    pairs = parse_qsl(text, keep_blank_values=True)
    return dict(reversed(pairs))  # of a repeated parameter the first value counts


def _routes_of_files(files: Iterable[str]) -> Sequence[Route]:
    return [message for message in read_batch(files).messages if isinstance(message, Route)]


async def _routes_of_server(server: str) -> Sequence[Route]:
    async with connect(server) as client:
        stored, _ = await client.snapshot(KIND_ROUTE)
    return [message for message in (unwrap(each.resource) for each in stored) if isinstance(message, Route)]


def _winner(verdicts: Sequence[RouteVerdict], routes: Iterable[Route]) -> Route | None:
    if not verdicts or verdicts[0].outcome is not Outcome.WINS:
        return None
    return next(route for route in routes if route.name == verdicts[0].route)


def _print(verdicts: Sequence[RouteVerdict], routes: Sequence[Route]) -> None:
    rows = [(each.route, Text(each.outcome, _STYLES[each.outcome]), each.why) for each in verdicts]
    print_table(("ROUTE", "OUTCOME", "WHY"), rows, empty="there are no routes")
    if _winner(verdicts, routes) is None:
        stderr().print("No route takes this request: it is answered with 404.")


def _data(verdicts: Sequence[RouteVerdict], routes: Sequence[Route]) -> Json:
    winner = _winner(verdicts, routes)
    return {
        "route": winner.name if winner else None,
        "services": [backend.service for backend in winner.backends] if winner else [],
        "routes": [{"name": each.route, "outcome": each.outcome.value, "why": each.why} for each in verdicts],
    }
