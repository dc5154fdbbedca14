"""`data:` addresses, which hold what they name: made and read."""

import base64
import binascii
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from gateway.errors import InvalidRequestError

# Both alphabets, padding and the line ends that some encoders write: backends differ in what they take.
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_= \t\r\n"


class Inline(NamedTuple):
    """What a `data:` address holds: its media type in lower case, without parameters, and the data in base64."""

    media_type: str
    data: str

    def text(self) -> str:
        """The data as text. Raises `InvalidRequestError` if it is none."""
        try:
            return base64.b64decode(self.data, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise InvalidRequestError("a file that says it is text is none", param="messages") from None


def is_base64(data: str) -> bool:
    """Whether the text can be base64, in any of its forms."""
    return data.isascii() and not data.encode().translate(None, _BASE64)


def is_readable(url: str) -> bool:
    """Whether what a `data:` address says is base64 can be; other addresses are the backend's business."""
    if not url.startswith("data:"):
        return True
    head, _, data = url.partition(",")
    return not head.endswith(";base64") or is_base64(data)


def data_url(media_type: str, data: str) -> str:
    """The address of data in base64."""
    return f"data:{media_type};base64,{data}"


def text_url(text: str, media_type: str = "text/plain") -> str:
    """The address of a text."""
    return data_url(media_type, base64.b64encode(text.encode()).decode())


def read_data_url(url: str) -> Inline | None:
    """What the address holds; None if it is of another kind. Raises `InvalidRequestError` if nothing can be read."""
    if not url.startswith("data:"):
        return None
    head, comma, data = url[len("data:") :].partition(",")
    media_type, *parameters = (each.strip().lower() for each in head.split(";"))
    if not comma or not media_type:
        raise InvalidRequestError("a data: address needs a media type, a comma and data", param="messages")
    if "base64" not in parameters:
        data = base64.b64encode(unquote_to_bytes(data)).decode()
    return Inline(media_type, data)
