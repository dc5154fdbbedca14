"""The Open Inference Protocol over REST: what servers and models are, whether they are ready, and errors."""

from typing import Any

import msgspec

from gateway.schemas.json_fields import Fields
from gateway.schemas.open_inference.dialect import MalformedTensorError, ModelMetadata, ServerMetadata, TensorMetadata
from gateway.schemas.openai.fields import UNREADABLE

NOT_READY_STATUS = 400
"""What servers answer with when a model is not ready."""

_raw_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def decode_model_metadata(body: bytes) -> ModelMetadata:
    """What a model takes and gives. Raises `MalformedTensorError`."""
    fields = Fields.parse(body, MalformedTensorError)
    return ModelMetadata(
        name=fields.text("name"),
        versions=fields.strings("versions"),
        platform=fields.text("platform", ""),
        inputs=tuple(_decode_tensor(each) for each in fields.objects("inputs", required=False)),
        outputs=tuple(_decode_tensor(each) for each in fields.objects("outputs", required=False)),
        properties=_properties(fields.object("properties")),
        extra=fields.extra,
    )


def _decode_tensor(fields: Fields) -> TensorMetadata:
    name, datatype, shape = fields.text("name"), fields.text("datatype"), fields.integers("shape")
    return TensorMetadata(name=name, datatype=datatype, shape=shape, extra=fields.extra)


def _properties(fields: Fields) -> dict[str, str]:
    return {name: fields.text(name) for name in fields.extra}


def encode_model_metadata(metadata: ModelMetadata) -> bytes:
    """The JSON of it."""
    fields: dict[str, Any] = {
        "name": metadata.name,
        "versions": metadata.versions,
        "platform": metadata.platform,
        "inputs": [_encode_tensor(tensor) for tensor in metadata.inputs],
        "outputs": [_encode_tensor(tensor) for tensor in metadata.outputs],
    }
    if metadata.properties:
        fields["properties"] = metadata.properties
    return msgspec.json.encode(fields | dict(metadata.extra))


def _encode_tensor(tensor: TensorMetadata) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape, **tensor.extra}


def with_name(body: bytes, name: str) -> bytes:
    """An answer about a model with another `name`, all else as it is. Raises `MalformedTensorError` for what is no
    object."""
    try:
        fields = _raw_decoder.decode(body)
    except UNREADABLE as error:
        raise MalformedTensorError(f"the body is not a JSON object: {error}") from None
    fields["name"] = msgspec.Raw(msgspec.json.encode(name))
    return msgspec.json.encode(fields)


def decode_ready(body: bytes) -> bool:
    """What the body of a successful answer says of a model: it is ready, unless it is said not to be. Servers differ
    in what they send; the status is what counts."""
    try:
        return Fields.parse(body, MalformedTensorError).truth("ready") is not False
    except MalformedTensorError:
        return True


def encode_ready(model: str, *, ready: bool) -> bytes:
    """The JSON that says whether a model is ready."""
    return msgspec.json.encode({"name": model, "ready": ready})


def decode_server_metadata(body: bytes) -> ServerMetadata:
    """What a server is. Raises `MalformedTensorError`."""
    fields = Fields.parse(body, MalformedTensorError)
    return ServerMetadata(
        name=fields.text("name"),
        version=fields.text("version", ""),
        extensions=fields.strings("extensions"),
        extra=fields.extra,
    )


def encode_server_metadata(metadata: ServerMetadata) -> bytes:
    """The JSON of it."""
    fields = {"name": metadata.name, "version": metadata.version, "extensions": metadata.extensions}
    return msgspec.json.encode(fields | dict(metadata.extra))


def read_error(body: bytes) -> str | None:
    """The message of an error body, or None if it has none.

    MLServer has `error` in what it checks itself, and `detail`, as FastAPI does, for a body it could not even read.
    """
    try:
        fields = Fields.parse(body, MalformedTensorError)
        return fields.text("error") if fields.has("error") else _read_detail(fields)
    except MalformedTensorError:
        return None


def _read_detail(fields: Fields) -> str | None:
    try:
        return "; ".join(each.text("msg") for each in fields.objects("detail", required=True))
    except MalformedTensorError:
        return None


def is_error(body: bytes) -> bool:
    """Whether it is an error as the protocol has it."""
    try:
        return bool(Fields.parse(body, MalformedTensorError).text("error"))
    except MalformedTensorError:
        return False


def error_body(message: str) -> bytes:
    """The JSON of an error."""
    return msgspec.json.encode({"error": message})
