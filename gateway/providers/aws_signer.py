"""AWS Signature Version 4 as botocore makes it."""

from yarl import URL

from gateway.config.credential import AwsKey
from gateway.transport.messages import Headers


class AwsSigner:
    """Signs requests to a service in a region. What is signed is the method, path and query as they are sent, the whole
    body, the host, the content type and all headers of AWS; the rest proxies may change."""

    def __init__(self, service: str, region: str) -> None:
        # 18 MB that only nodes with an AWS credential need.
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        self._service = service
        self._region = region
        self._make_auth = SigV4Auth
        self._make_request = AWSRequest
        self._make_credentials = Credentials

    def sign(self, key: AwsKey, method: str, url: URL, headers: Headers, body: bytes | None) -> Headers:
        """The headers with the signature in them, and with the host, if they had none."""
        sent = list(headers)
        if all(name != "host" for name, _ in sent):
            sent.append(("host", url.host_port_subcomponent or ""))
        request = self._make_request(method=method, url=str(url), data=body or b"")
        for name, value in sent:
            if name in ("host", "content-type") or name.startswith("x-amz"):
                request.headers[name] = value
        before = set(request.headers.keys())
        token = key.session_token.reveal() if key.session_token is not None else None
        credentials = self._make_credentials(key.access_key_id.reveal(), key.secret_access_key.reveal(), token)
        self._make_auth(credentials, self._service, self._region).add_auth(request)
        return [*sent, *((name.lower(), value) for name, value in request.headers.items() if name not in before)]
