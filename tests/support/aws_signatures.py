"""The other side of AWS Signature Version 4: what a server makes of a request as it came, down to the bytes of its
path, and whether the signature is that of somebody who has the key."""

import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from tests.support.http_wire import ReceivedRequest

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<id>[^/]+)/(?P<scope>[^,]+), "
    r"SignedHeaders=(?P<headers>[^,]+), Signature=(?P<signature>[0-9a-f]{64})"
)
_LEEWAY = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsAccount:
    """A key that the server knows, and what it may be used for."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None
    region: str = "eu-west-1"
    service: str = "bedrock"

    def fault(self, request: ReceivedRequest) -> str | None:
        """Why the request is not one of this account; None if it is."""
        found = _AUTHORIZATION.fullmatch(request.header("authorization") or "")
        if found is None:
            return "there is no signature"
        date = request.header("x-amz-date") or ""
        day = date[:8]
        if found["id"] != self.access_key_id:
            return "the key is not known"
        if found["scope"] != f"{day}/{self.region}/{self.service}/aws4_request":
            return f"the scope is {found['scope']}"
        told = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if abs(datetime.now(UTC) - told) > _LEEWAY:
            return "the signature has expired"
        signed = found["headers"].split(";")
        required = {"host", "x-amz-date"} | {name for name, _ in _headers(request) if name.startswith("x-amz-")}
        if not required <= set(signed):
            return f"{sorted(required - set(signed))} are not signed"
        if request.header("x-amz-security-token") != self.session_token:
            return "the session token is wrong"
        text = "\n".join(["AWS4-HMAC-SHA256", date, found["scope"], _sha256(_canonical(request, signed))])
        return None if hmac.compare_digest(found["signature"], self._sign(day, text)) else "the signature is wrong"

    def _sign(self, day: str, text: str) -> str:
        key = f"AWS4{self.secret_access_key}".encode()
        for part in (day, self.region, self.service, "aws4_request"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _canonical(request: ReceivedRequest, signed: list[str]) -> bytes:
    path, _, query = request.target.partition("?")
    pairs = sorted((name, value) for name, _, value in (part.partition("=") for part in query.split("&") if part))
    lines = [
        request.method,
        quote(path, safe="/-_.~"),  # encoded once more, as all services but S3 do
        "&".join(f"{name}={value}" for name, value in pairs),
        *(f"{name}:{_value(request, name)}" for name in signed),
        "",
        ";".join(signed),
        _sha256(request.body),
    ]
    return "\n".join(lines).encode()


def _value(request: ReceivedRequest, wanted: str) -> str:
    return ",".join(" ".join(value.split()) for name, value in _headers(request) if name == wanted)


def _headers(request: ReceivedRequest) -> list[tuple[str, str]]:
    return [(name.lower(), value) for name, value in request.headers]


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
