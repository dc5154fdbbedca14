"""The model of a form, wherever it stands and however the form is cut; and the forms that are refused."""

import email.policy
from collections.abc import Iterable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import GatewayError, InvalidRequestError, PayloadTooLargeError
from gateway.schemas.multipart_form import FormReader, Splice, form_boundary

BOUNDARY = "b0undary"
MODEL = b'content-disposition: form-data; name="model"\r\n\r\nwhisper-1'
FILE = (
    b'Content-Disposition: form-data; name="file"; filename="a b.wav"\r\nContent-Type: audio/wav\r\n\r\n'
    b"RIFF\x00\xff\r\n--b0und\r\n\r\nmodel"
)


def form(*parts: bytes, end: bytes = b"--b0undary--\r\n") -> bytes:
    return b"".join(b"--b0undary\r\n" + part + b"\r\n" for part in parts) + end


def read(pieces: Iterable[bytes]) -> FormReader:
    reader = FormReader(BOUNDARY)
    for piece in pieces:
        reader.feed(piece)
    reader.end()
    return reader


def spliced(data: bytes, splice: Splice) -> bytes:
    return data[: splice.start] + splice.new + data[splice.end :]


def fields(data: bytes) -> dict[str, bytes]:
    """The fields as another reader finds them."""
    head = f"content-type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n".encode()
    found: dict[str, bytes] = {}
    for part in email.message_from_bytes(head + data, policy=email.policy.HTTP).iter_parts():
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        found[str(part.get_param("name", header="content-disposition"))] = content
    return found


@pytest.mark.parametrize("data", [form(MODEL, FILE), form(FILE, MODEL)], ids=["first", "last"])
@given(cuts=st.lists(st.integers(0, 400), max_size=5).map(sorted))
def test_model_is_found_and_renamed_however_the_form_is_cut(data: bytes, cuts: list[int]) -> None:
    reader = read(data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True))
    assert reader.model == "whisper-1"
    renamed = spliced(data, reader.with_model("another-model"))
    assert renamed == data.replace(b"whisper-1", b"another-model")


@pytest.mark.parametrize("data", [form(MODEL, FILE), form(FILE, MODEL)], ids=["first", "last"])
def test_model_is_found_and_renamed_wherever_the_form_is_cut_once(data: bytes) -> None:
    for cut in range(len(data)):
        reader = read([data[:cut], data[cut:]])
        assert reader.model == "whisper-1"
        assert spliced(data, reader.with_model("m")) == data.replace(b"whisper-1", b"m")


def test_model_is_known_as_soon_as_its_field_ends() -> None:
    reader = FormReader(BOUNDARY)
    reader.feed(form(MODEL, end=b""))
    assert reader.model is None, "a boundary may follow, or more of the name"
    reader.feed(b"--b0undary\r\n")
    assert reader.model == "whisper-1"


@pytest.mark.parametrize("preamble", [b"", b"\r\n", b"this is a form\r\n"])
def test_form_without_a_model_is_given_one(preamble: bytes) -> None:
    data = preamble + form(FILE)
    reader = read([data])
    assert reader.model is None
    splice = reader.with_model("m-1")
    assert splice.growth == len(spliced(data, splice)) - len(data)
    assert fields(spliced(data, splice)) == {"model": b"m-1", "file": fields(data)["file"]}
    assert read([spliced(data, splice)]).model == "m-1"


def test_large_parts_are_not_held() -> None:
    reader = FormReader(BOUNDARY)
    reader.feed(b"--b0undary\r\n" + FILE)
    for _ in range(100):
        reader.feed(b"\r\n\x00" * 30_000)
        assert len(reader._decoder.buffer) < 100_000
    reader.feed(b"\r\n" + form(MODEL))
    reader.end()
    assert reader.model == "whisper-1"


@pytest.mark.parametrize(
    ("data", "said", "param"),
    [
        (b"", "cannot be read", None),
        (b"{}", "cannot be read", None),
        (form(), "is empty", None),
        (form(FILE, end=b""), "cannot be read", None),
        (form(MODEL)[:-8], "cannot be read", None),
        (form(b"content-type: text/plain\r\n\r\nx"), "cannot be read", None),
        (form(b"content-disposition: form-data\r\n\r\nx"), "tell its name", None),
        (form(b'content-disposition: form-data; name="mod\\el"\r\n\r\nx'), "tell its name", None),
        (form(MODEL.replace(b'name="model"', b"name*=utf-8''model")), "without escapes", None),
        (form(MODEL.replace(b'name="model"', b"name=\"x\"; name*=utf-8''model")), "without escapes", None),
        (form(MODEL.replace(b'name="model"', b'name="x"; name="model"')), "once", None),
        (form(MODEL.replace(b'name="model"', b'name="x" y; name*0="model"')), "once", None),
        (form(MODEL.replace(b"form-data", b"attachment")), "once", None),
        (form(b'content-disposition: form-data; name="x"\r\n' + MODEL), "once", None),
        (form(MODEL, MODEL), "twice", "model"),
        (form(MODEL, FILE, MODEL), "twice", "model"),
        (form(MODEL.replace(b'"model"', b'"model"; filename="m"')), "plain text", "model"),
        (form(b"content-transfer-encoding: base64\r\n" + MODEL), "plain text", "model"),
        (form(MODEL.replace(b"whisper-1", b"")), "is empty", "model"),
        (form(MODEL.replace(b"whisper-1", b"\xff")), "not UTF-8", "model"),
        (form(MODEL + b"x" * 1024), "longer than", "model"),
        (form(MODEL).replace(b"\r\n", b"\n"), "CRLF", None),
    ],
)
def test_form_that_others_might_read_otherwise_is_refused(data: bytes, said: str, param: str | None) -> None:
    with pytest.raises(InvalidRequestError, match=said) as error:
        read([data])
    assert error.value.param == param


@pytest.mark.parametrize(
    "data",
    [
        form(*(b'content-disposition: form-data; name="x"\r\n\r\n' for _ in range(1001))),
        b"--b0undary\r\n" + b"x: y\r\n" * 100_000,
        form(MODEL) + b"x" * 300_000,
    ],
    ids=["parts", "head", "after the end"],
)
def test_form_that_would_have_to_be_held_is_refused(data: bytes) -> None:
    with pytest.raises(PayloadTooLargeError):
        read([data])


@given(st.binary(max_size=300))
def test_no_bytes_are_more_than_refused(data: bytes) -> None:
    with suppress(GatewayError):
        read([b"--b0undary\r\n" + data])


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data; boundary=b0undary", 'Multipart/Form-Data; x=y; Boundary="b0undary"']
)
def test_boundary(content_type: str) -> None:
    assert form_boundary(content_type) == BOUNDARY


@pytest.mark.parametrize(
    "content_type",
    ["multipart/form-data", "multipart/form-data; boundary=", f"multipart/form-data; boundary={'x' * 71}"],
)
def test_content_type_without_a_boundary_is_refused(content_type: str) -> None:
    with pytest.raises(InvalidRequestError, match="boundary") as error:
        form_boundary(content_type)
    assert error.value.param == "content-type"


@pytest.mark.parametrize(
    "parameters",
    [
        b"name=model",
        b'NAME="model";',
        b"filename*=utf-8''a; name=\"other\"",
        b'name="file"; filename="C:\\x\\y.wav"',
        b'name="timestamp_granularities[]"',
        'name="file"; filename="\u00e9 \\" ;.wav"'.encode(),
    ],
)
def test_what_clients_write_of_a_part_is_taken(parameters: bytes) -> None:
    reader = read([form(b"Content-Disposition: form-data; " + parameters + b"\r\n\r\nx")])
    assert reader.model == ("x" if b"model" in parameters else None)
