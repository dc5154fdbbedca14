"""What is REST's own in the Open Inference Protocol: paths, methods, bodies of JSON and of binary data, and the node
itself."""

import json
import struct
from importlib.metadata import version
from io import BytesIO
from typing import Any

import aiohttp
import pytest
from yarl import URL

from gateway.schemas.open_inference.dialect import Datatype, InferRequest, Tensor
from gateway.schemas.open_inference.rest import HEADER_LENGTH, encode_request
from tests.conformance.conftest import MAX_BODY_BYTES
from tests.conformance.gateway import Gateway
from tests.conformance.open_inference import ASKED, models_at
from tests.conformance.raw_http import connected
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import json_response, response
from tests.support.open_inference_backends import GrpcBackend, RestBackend
from tests.support.scripts import answer

INFER = "/v2/models/m/infer"
JSON = {"content-type": "application/json"}
BODY = encode_request(ASKED, binary=False).body
RAW_FLOATS = Tensor(name="x", datatype=Datatype.FP32, shape=(2,), data=struct.pack("<2f", 0.5, -1.0))


class Rest:
    """Requests to the node."""

    def __init__(self, gateway: Gateway, session: aiohttp.ClientSession) -> None:
        self._url = f"http://{gateway.addresses.http}"
        self._session = session

    async def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> "Told":
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        url = URL(self._url + path, encoded=True)
        data = None if body is None else BytesIO(body)  # aiohttp takes no bytes of more than 1 MiB
        async with self._session.request(method, url, data=data, headers=names) as got:
            return Told(got.status, {name.lower(): value for name, value in got.headers.items()}, await got.read())


class Told:
    """An answer."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        assert self.headers["content-type"] == "application/json"
        assert self.json.keys() == {"error"}
        return str(self.json["error"])


@pytest.fixture
def rest(gateway: Gateway, session: aiohttp.ClientSession) -> Rest:
    return Rest(gateway, session)


# The node itself.


async def test_node_lives_and_is_ready(rest: Rest) -> None:
    live, ready = await rest.ask("GET", "/v2/health/live"), await rest.ask("GET", "/v2/health/ready")
    assert (live.status, live.json) == (200, {"live": True})
    assert (ready.status, ready.json) == (200, {"ready": True})
    assert ready.headers["x-request-id"]


async def test_node_says_what_it_is(rest: Rest) -> None:
    told = await rest.ask("GET", "/v2", x_request_id="mine")
    assert (told.status, told.headers["x-request-id"]) == (200, "mine")
    assert told.json == {"name": "janua", "version": version("janua"), "extensions": []}


# Paths and methods.


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/v2", "GET"),
        ("PUT", "/v2/health/live", "GET"),
        ("POST", "/v2/health/ready", "GET"),
        ("POST", "/v2/models/m", "GET"),
        ("DELETE", "/v2/models/m/versions/1", "GET"),
        ("POST", "/v2/models/m/ready", "GET"),
        ("GET", INFER, "POST"),
        ("GET", "/v2/models/m/versions/1/infer", "POST"),
    ],
)
async def test_method_that_a_path_does_not_take(rest: Rest, method: str, path: str, allowed: str) -> None:
    told = await rest.ask(method, path, b"{}" if method == "POST" else None)
    assert (told.status, told.headers["allow"]) == (405, allowed)
    assert told.error == f"{path} takes {allowed}, not {method}"


@pytest.mark.parametrize(
    "path",
    [
        "/v2/",
        "/v2/health",
        "/v2/health/live/",
        "/v2/models",
        "/v2/models/",
        "/v2/models//infer",
        "/v2/models/m/",
        "/v2/models/m/versions",
        "/v2/models/m/versions//infer",
        "/v2/models/m/generate",
        "/v2/models/m/infer/x",
        "/v2/chats",
        "/v2x",
    ],
)
async def test_other_paths_are_free_for_others(
    gateway: Gateway, upstream: FaultyUpstream, rest: Rest, path: str
) -> None:
    route = {"name": "all", "match": {"path": {"prefix": "/"}}, "backends": [{"service": "any"}]}
    await gateway.apply(
        {
            "upstreams": [{"name": "pool", "endpoints": [{"address": upstream.address}]}],
            "services": [{"name": "any", "upstream_service": {"upstream": "pool", "schema": "PASSTHROUGH"}}],
            "routes": [route],
        }
    )
    upstream.script = answer(json_response(200, {"passed": "through"}))
    assert (await rest.ask("GET", path)).json == {"passed": "through"}
    assert [request.target for request in upstream.requests] == [path]


@pytest.mark.parametrize(
    ("path", "model", "model_version"),
    [
        ("/v2/models/upstream%2Dm/infer", "upstream-m", ""),
        ("/v2/models/%6D/versions/1%2E0/infer", "m", "1.0"),
        ("/v2/models/m%252D/infer", "m%2D", ""),
        ("/v2/models/zw%C3%B6lf%20%3F/infer", "zwölf ?", ""),
    ],
)
async def test_names_are_decoded_once(
    gateway: Gateway, rest_backends: tuple[RestBackend, ...], rest: Rest, path: str, model: str, model_version: str
) -> None:
    await gateway.apply(models_at(rest_backends[0]))
    await rest.ask("POST", path, BODY)
    assert [(asked.model, asked.version) for asked in rest_backends[0].asked] == [(model, model_version)]


@pytest.mark.parametrize("name", ["a%2Fb", "a%5Cb", "%2E%2E", "%2e", "..", ".", "%FF", "a%00b", "a%0Ab", "%7F"])
async def test_names_that_would_make_another_path_are_refused(
    gateway: Gateway, rest_backends: tuple[RestBackend, ...], name: str
) -> None:
    await gateway.apply(models_at(rest_backends[0]))
    for path in (f"/v2/models/{name}/infer", f"/v2/models/m/versions/{name}/infer"):
        async with connected(gateway.addresses.http) as connection:
            head = f"POST {path} HTTP/1.1\r\nhost: h\r\ncontent-length: {len(BODY)}\r\n\r\n"
            await connection.send(head.encode() + BODY)
            told = await connection.response()
        assert told is not None
        assert told.status == 400, path
        assert json.loads(told.body)["error"].startswith(("model: ", "version: "))
    assert rest_backends[0].asked == []


async def test_slash_in_a_name_may_go_to_a_backend_over_grpc(
    gateway: Gateway, grpc_backends: tuple[GrpcBackend, ...], rest: Rest
) -> None:
    service = {"models": [{"name": "org/m", "upstream_name": "m"}]}
    await gateway.apply(models_at(grpc_backends[0], service=service))
    assert (await rest.ask("POST", "/v2/models/org%2Fm/infer", BODY)).json["model_name"] == "org/m"


# Bodies.


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"inputs": [NaN]}', b'"\xff"'])
async def test_body_that_is_no_json_object(
    gateway: Gateway, rest_backends: tuple[RestBackend, ...], rest: Rest, body: bytes
) -> None:
    await gateway.apply(models_at(rest_backends[0]))
    told = await rest.ask("POST", INFER, body)
    assert told.status == 400
    assert told.error.startswith("the body is not a JSON object: ")
    assert rest_backends[0].asked == []


WRONG = {
    "inputs: is missing": {},
    "inputs: an array is needed": {"inputs": "x"},
    "inputs[0].name: is missing": {"inputs": [{}]},
    "inputs[0].datatype: 'FLOAT' is not a datatype; known: ": {
        "inputs": [{"name": "x", "datatype": "FLOAT", "shape": [1], "data": [1]}]
    },
    "inputs[1].shape[0]: an integer is needed": {
        "inputs": [
            {"name": "x", "datatype": "FP32", "shape": [1], "data": [1]},
            {"name": "y", "datatype": "FP32", "shape": ["1"], "data": [1]},
        ]
    },
    "inputs[0].data: shape [3] needs 3 elements, there are 1": {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [3], "data": [1]}]
    },
    "inputs[0].data[1]: 256 is not in the range of UINT8": {
        "inputs": [{"name": "x", "datatype": "UINT8", "shape": [2], "data": [1, 256]}]
    },
}


@pytest.mark.parametrize("is_bridged", [False, True], ids=["to-http", "to-grpc"])
@pytest.mark.parametrize(("message", "body"), WRONG.items(), ids=WRONG)
async def test_what_is_wrong_with_a_body_is_told_with_its_place(
    gateway: Gateway,
    rest_backends: tuple[RestBackend, ...],
    grpc_backends: tuple[GrpcBackend, ...],
    rest: Rest,
    message: str,
    body: object,
    is_bridged: bool,
) -> None:
    await gateway.apply(models_at(*(grpc_backends if is_bridged else rest_backends)))
    told = await rest.ask("POST", INFER, json.dumps(body).encode())
    assert told.status == 400
    assert told.error.startswith(message)
    assert told.headers["x-request-id"]


@pytest.mark.parametrize("length", ["x", "-1", "1.5", "999", "5, 5", "9" * 30])
async def test_length_of_the_json_that_is_none(
    gateway: Gateway, rest_backends: tuple[RestBackend, ...], rest: Rest, length: str
) -> None:
    await gateway.apply(models_at(rest_backends[0]))
    told = await rest.ask("POST", INFER, BODY, inference_header_content_length=length)
    assert told.status == 400
    assert HEADER_LENGTH in told.error


async def test_compressed_body_is_refused(gateway: Gateway, rest_backends: tuple[RestBackend, ...], rest: Rest) -> None:
    await gateway.apply(models_at(rest_backends[0]))
    told = await rest.ask("POST", INFER, b"\x1f\x8b", content_encoding="gzip")
    text = "compressed bodies are not taken: send it without content-encoding"
    assert (told.status, told.error) == (415, text)


async def test_body_over_the_limit(gateway: Gateway, rest_backends: tuple[RestBackend, ...], rest: Rest) -> None:
    await gateway.apply(models_at(rest_backends[0]))
    assert (await rest.ask("POST", INFER, b"x" * (MAX_BODY_BYTES + 1))).status == 413


async def test_bytes_pass_through_to_a_rest_backend(gateway: Gateway, upstream: FaultyUpstream, rest: Rest) -> None:
    backend = RestBackend()
    backend.address = upstream.address
    await gateway.apply(models_at(backend))
    body = b' {"inputs" : [], "unknown":{"a":[1.0e0]}, "id":null}'
    answered = b'{ "model_name":"m", "outputs":[], "also": 1.50 }'
    upstream.script = answer(response(200, answered, headers=[("x-model-time", "5")]))
    told = await rest.ask("POST", f"{INFER}?x=1", body)
    assert (told.body, told.headers["x-model-time"]) == (answered, "5")
    (request,) = upstream.requests
    assert (request.target, request.body, request.header("content-type")) == (INFER, body, "application/json")


async def test_another_model_name_leaves_the_rest_of_an_answer_as_it_is(
    gateway: Gateway, upstream: FaultyUpstream, rest: Rest
) -> None:
    backend = RestBackend()
    backend.address = upstream.address
    names = {"models": [{"name": "m", "upstream_name": "other"}]}
    await gateway.apply(models_at(backend, service=names))
    upstream.script = answer(response(200, b'{"model_name":"other","outputs":[],"also":{"b": 1.50}}'))
    told = await rest.ask("POST", INFER, b"{}")
    assert (told.json["model_name"], told.json["also"]) == ("m", {"b": 1.5})
    assert upstream.requests[0].target == "/v2/models/other/infer"


async def test_binary_data_pass_through_with_another_model_name(
    gateway: Gateway, rest_backends: tuple[RestBackend, ...], rest: Rest
) -> None:
    names = {"models": [{"name": "a-much-longer-name", "upstream_name": "m"}]}
    await gateway.apply(models_at(rest_backends[0], service=names))
    body = encode_request(InferRequest(model="", inputs=(RAW_FLOATS,)), binary=True)
    told = await rest.ask(
        "POST",
        "/v2/models/a-much-longer-name/infer",
        body.body,
        inference_header_content_length=str(body.header_length),
        content_type="application/octet-stream",
    )
    length = int(told.headers[HEADER_LENGTH])
    assert told.headers["content-type"] == "application/octet-stream"
    assert json.loads(told.body[:length])["model_name"] == "a-much-longer-name"
    assert told.body[length:] == RAW_FLOATS.data
    (asked,) = rest_backends[0].asked
    assert (asked.body, asked.headers["content-type"]) == (body.body, "application/octet-stream")


@pytest.mark.parametrize("binary", [True, False])
async def test_outputs_are_binary_data_where_the_caller_wants_them_so(
    gateway: Gateway, grpc_backends: tuple[GrpcBackend, ...], rest: Rest, binary: bool
) -> None:
    await gateway.apply(models_at(grpc_backends[0]))
    body = {
        "inputs": [{"name": name, "datatype": "FP32", "shape": [2], "data": [0.5, -1.0]} for name in "xy"],
        "outputs": [{"name": "x", "parameters": {"binary_data": binary}}, {"name": "y"}],
    }
    told = await rest.ask("POST", INFER, json.dumps(body).encode())
    if not binary:
        assert HEADER_LENGTH not in told.headers
        assert [each["data"] for each in told.json["outputs"]] == [[0.5, -1.0]] * 2
        return
    length = int(told.headers[HEADER_LENGTH])
    x, y = json.loads(told.body[:length])["outputs"]
    assert (x["parameters"], "data" in x, y["data"]) == ({"binary_data_size": 8}, False, [0.5, -1.0])
    assert told.body[length:] == RAW_FLOATS.data


async def test_binary_data_without_json_are_for_servers_that_know_the_model(
    gateway: Gateway, upstream: FaultyUpstream, grpc_backends: tuple[GrpcBackend, ...], rest: Rest
) -> None:
    """Triton's raw binary request."""
    backend = RestBackend()
    backend.address = upstream.address
    upstream.script = answer(response(200, b'{"outputs":[]}'))
    await gateway.apply(models_at(backend))
    assert (await rest.ask("POST", INFER, b"\0\1\2\3", inference_header_content_length="0")).status == 200
    assert (upstream.requests[0].body, upstream.requests[0].header(HEADER_LENGTH)) == (b"\0\1\2\3", "0")
    upstream.script = answer(json_response(500, {"error": "crashed"}))
    assert (await rest.ask("POST", INFER, b"\0", inference_header_content_length="0")).status == 502
    await gateway.apply(models_at(grpc_backends[0]))
    told = await rest.ask("POST", INFER, b"\0\1\2\3", inference_header_content_length="0")
    assert (told.status, told.error) == (400, "binary data without JSON before them do not tell what they are")


# Errors of backends.


async def test_error_of_a_rest_backend_is_shown_as_it_came(
    gateway: Gateway, upstream: FaultyUpstream, rest: Rest
) -> None:
    backend = RestBackend()
    backend.address = upstream.address
    await gateway.apply(models_at(backend))
    upstream.script = answer(response(409, b'{"error": "busy", "code": 7}'))
    told = await rest.ask("POST", INFER, BODY)
    assert (told.status, told.body) == (409, b'{"error": "busy", "code": 7}')


async def test_error_that_is_not_of_the_protocol_is_made_one(
    gateway: Gateway, upstream: FaultyUpstream, rest: Rest
) -> None:
    """MLServer's, for a body that it could not read."""
    backend = RestBackend()
    backend.address = upstream.address
    await gateway.apply(models_at(backend))
    upstream.script = answer(json_response(422, {"detail": [{"loc": ["body"], "msg": "Field required"}]}))
    told = await rest.ask("POST", INFER, BODY)
    assert (told.status, told.error) == (422, "Field required")
    upstream.script = answer(response(404, b"<html>", content_type="text/html"))
    assert (await rest.ask("GET", "/v2/models/m")).error == "the upstream refused the request (status 404)"


async def test_answer_of_the_route_itself(gateway: Gateway, rest: Rest) -> None:
    route = {"name": "closed", "match": {"models": ["*"]}, "direct_response": {"status": 503, "body": "closed"}}
    await gateway.apply({"routes": [route]})
    told = await rest.ask("POST", INFER, BODY)
    assert (told.status, told.body) == (503, b"closed")


async def test_http2_to_the_backend(gateway: Gateway, grpc_backends: tuple[GrpcBackend, ...], rest: Rest) -> None:
    """A server that speaks gRPC is asked over plain HTTP/2: the error is gRPC's own, and is no answer."""
    await gateway.apply(models_at(grpc_backends[0], upstream={"protocol": "HTTP2"}))
    told = await rest.ask("POST", INFER, BODY)
    assert told.status in (400, 415, 502)
    assert told.error
