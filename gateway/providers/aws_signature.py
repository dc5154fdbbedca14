"""Requests signed with AWS Signature Version 4."""

import asyncio

from yarl import URL

from gateway.config.credential import AwsAccount, AwsKey
from gateway.errors import InvalidRequestError
from gateway.providers.aws_keys import fetch_key
from gateway.providers.aws_signer import AwsSigner
from gateway.providers.renewed import Clock, Renewed
from gateway.transport.messages import Body, Headers, HttpSender

# A signature takes 75 µs, and 0.6 µs more for each kilobyte of the body; over this size another thread makes it.
_LARGE_BODY_BYTES = 512 * 1024


class AwsSignature:
    """Signs requests, with a key that is given or with temporary ones."""

    def __init__(self, account: AwsAccount, *, clock: Clock, wall_clock: Clock) -> None:
        self._signer = AwsSigner(account.service, account.region)
        self._keys: AwsKey | Renewed[AwsKey]
        if isinstance(source := account.source, AwsKey):
            self._keys = source
        else:
            self._keys = Renewed(lambda http: fetch_key(source, account.region, http, wall_clock()), clock=clock)

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
        key = self._keys if isinstance(self._keys, AwsKey) else await self._keys.current(http)
        if body is not None and len(body) > _LARGE_BODY_BYTES:
            return url, await asyncio.to_thread(self._signer.sign, key, method, url, headers, body)
        return url, self._signer.sign(key, method, url, headers, body)

    def refused(self) -> None:
        """See `Credential`. A key that is given stays as it is."""
        if isinstance(self._keys, Renewed):
            self._keys.refused()
