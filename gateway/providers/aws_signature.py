"""Requests signed with AWS Signature Version 4."""

import asyncio

from yarl import URL

from gateway.config.credential import AwsKey
from gateway.errors import InvalidRequestError
from gateway.transport.messages import Body, Headers, HttpSender

# A signature takes 75 µs, and 0.6 µs more for each kilobyte of the body; over this size another thread makes it.
_LARGE_BODY_BYTES = 512 * 1024


class AwsSignature:
    """Signs requests. What is signed is the method, path and query as they are sent, the whole body, the host, the
    content type and all headers of AWS; the rest proxies may change."""

    def __init__(self, key: AwsKey) -> None:
        # 18 MB that only nodes with an AWS credential need.
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        token = key.session_token.reveal() if key.session_token is not None else None
        credentials = Credentials(key.access_key_id.reveal(), key.secret_access_key.reveal(), token)
        self._auth = SigV4Auth(credentials, key.service, key.region)
        self._make_request = AWSRequest

    async def authorize(
        self, method: str, url: URL, headers: Headers, body: Body, http: HttpSender
    ) -> tuple[URL, Headers]:
        """See `Credential`. A body that comes piece by piece cannot be signed."""
        if body is not None and not isinstance(body, bytes):
            raise InvalidRequestError(
                "requests to this service are signed, for which the whole body must be there: "
                "send it with a content-length of at most 64 KiB",
                reason="BODY_NOT_SIGNABLE",
            )
        if body is not None and len(body) > _LARGE_BODY_BYTES:
            return url, await asyncio.to_thread(self._sign, method, url, headers, body)
        return url, self._sign(method, url, headers, body)

    def refused(self) -> None:
        """Nothing can be done about it here."""

    def _sign(self, method: str, url: URL, headers: Headers, body: bytes | None) -> Headers:
        sent = list(headers)
        if all(name != "host" for name, _ in sent):
            sent.append(("host", url.host_port_subcomponent or ""))
        request = self._make_request(method=method, url=str(url), data=body or b"")
        for name, value in sent:
            if name in ("host", "content-type") or name.startswith("x-amz"):
                request.headers[name] = value
        before = set(request.headers.keys())
        self._auth.add_auth(request)
        return [*sent, *((name.lower(), value) for name, value in request.headers.items() if name not in before)]
