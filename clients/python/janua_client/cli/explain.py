"""The command `explain`: which route takes a request, why not the others, and what becomes of the request."""

import asyncio
import re
from collections.abc import Iterable, Sequence
from typing import Annotated
from urllib.parse import parse_qsl, unquote, urlsplit

import typer
from janua.config.v1.resource_pb2 import KIND_ROUTE
from janua.config.v1.route_pb2 import Route
from janua_resources.kinds import unwrap
from janua_resources.surfaces import Surface, inference_methods, is_for_model, model_in_path, surface_of
from rich.text import Text

from janua_client.cli.batch import read_batch
from janua_client.cli.failures import usage_error
from janua_client.cli.options import DEFAULT_SERVER, Output, Server
from janua_client.cli.outcome_report import outcome_data, print_outcome
from janua_client.cli.output import Json, OutputFormat, print_data, print_table, stderr, warn
from janua_client.cli.server import connect
from janua_client.route_explanation import Outcome, RequestFacts, RouteVerdict
from janua_client.route_explanation import explain as explain_routes
from janua_client.route_outcome import RouteOutcome, outcome

_PORT = re.compile(r":\d+$")
_GRPC_METHOD = re.compile(r"/\w+(\.\w+)+/\w+", re.ASCII)
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
    host: Annotated[str, typer.Option(envvar="JANUA_HOST", help="Host header, or metadata host of a gRPC call.")] = "",
    method: Annotated[
        str,
        typer.Option(envvar="JANUA_METHOD", help="HTTP method. Default: what the path is for, else POST, as gRPC is."),
    ] = "",
    file: Annotated[
        list[str] | None,
        typer.Option(
            "--file", "-f", envvar="JANUA_FILE", metavar="FILE|DIR|-", help="Explain files, not what the server has."
        ),
    ] = None,
    server: Server = DEFAULT_SERVER,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Say which route takes a request and why, what becomes of it, and why the other routes do not take it.

    The most specific route wins: by host, path, method, number of headers, number
    of query parameters, model; then priority and name. Of the routes that do not
    match, the first condition that does not hold is named.

    Examples:

      janua explain --model gemma-3
      janua explain --path /v1/embeddings --model bge --header x-tier:gold
      janua explain --path /my.package.Service/Method
      janua explain -f janua.yaml --host ai.example.com --model gemma-3
    """
    url = urlsplit(path)
    request = RequestFacts(
        host=_PORT.sub("", host).lower(),
        method=method.upper() or _usual_method(url.path),
        path=unquote(url.path),
        headers=_headers(header or ()),
        query=_query(url.query),
        model=_model(url.path, model),
    )
    routes = _routes_of_files(file) if file else asyncio.run(_routes_of_server(server))
    own_answer = _own_answer(request)
    if own_answer:
        stderr().print(own_answer)
    verdicts = () if own_answer else explain_routes(routes, request)
    winner = _winner(verdicts, routes)
    result = outcome(winner, request, authority=host, target=path) if winner else None
    if output is not OutputFormat.TABLE:
        print_data(_data(verdicts, winner, result), output)
    elif not own_answer:
        _print_verdicts(verdicts)
        if winner and result:
            print_outcome(winner.name, result, is_call=_is_call(request))
        else:
            stderr().print(_not_found(request))


def _usual_method(path: str) -> str:
    if is_for_model(path):
        return min(inference_methods(path))
    return "POST"


def _model(path: str, given: str) -> str:
    """The model that nodes see in a request."""
    match surface_of(path):
        case Surface.INFERENCE | Surface.RELAYED:
            return model_in_path(path) or given
        case _ if given:
            warn(f"--model is not looked at: nodes read no model from requests to {path}")
    return ""


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


def _own_answer(request: RequestFacts) -> str:
    """How the node answers before it asks any route; empty if it does not."""
    match surface_of(request.path):
        case Surface.OWN:
            return f"The node itself answers {request.path}, whatever routes say."
        case Surface.INFERENCE | Surface.RELAYED if request.method not in (methods := inference_methods(request.path)):
            wanted = " and ".join(methods)
            return f"{request.path} takes {wanted} alone: {request.method} is answered with 405, whatever routes say."
        case _:
            return ""


def _is_call(request: RequestFacts) -> bool:
    """Whether the path is one that gRPC calls have, and hardly any other request."""
    return _GRPC_METHOD.fullmatch(request.path) is not None


def _not_found(request: RequestFacts) -> str:
    if not _is_call(request):
        return "No route takes this request: it is answered with 404."
    status = "NOT_FOUND" if surface_of(request.path) is Surface.INFERENCE else "UNIMPLEMENTED"
    return f"No route takes this call: it ends with {status}."


def _winner(verdicts: Sequence[RouteVerdict], routes: Iterable[Route]) -> Route | None:
    if not verdicts or verdicts[0].outcome is not Outcome.WINS:
        return None
    return next(route for route in routes if route.name == verdicts[0].route)


def _print_verdicts(verdicts: Sequence[RouteVerdict]) -> None:
    rows = [(each.route, Text(each.outcome, _STYLES[each.outcome]), each.why) for each in verdicts]
    print_table(("ROUTE", "OUTCOME", "WHY"), rows, empty="there are no routes")


def _data(verdicts: Sequence[RouteVerdict], winner: Route | None, result: RouteOutcome | None) -> Json:
    return {
        "route": winner.name if winner else None,
        "services": [backend.service for backend in winner.backends] if winner else [],
        "result": outcome_data(result) if result else None,
        "routes": [{"name": each.route, "outcome": each.outcome.value, "why": each.why} for each in verdicts],
    }
