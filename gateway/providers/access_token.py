"""Access tokens, which requests carry in a header."""

from yarl import URL

from gateway.config.credential import TokenGrant
from gateway.config.secret import SecretValue
from gateway.providers.renewed import Clock, Renewed
from gateway.providers.token_fetch import fetch_token
from gateway.transport.messages import Body, Headers, HttpSender


class AccessToken:
    """Sends `authorization: Bearer TOKEN`."""

    def __init__(self, grant: TokenGrant, *, clock: Clock, wall_clock: Clock) -> None:
        self._token = Renewed[SecretValue](lambda http: fetch_token(grant, http, wall_clock()), clock=clock)

    async def authorize(
        self, method: str, url: URL, headers: Headers, body: Body, http: HttpSender
    ) -> tuple[URL, Headers]:
        """See `Credential`."""
        token = await self._token.current(http)
        return url, [*headers, ("authorization", f"Bearer {token.reveal()}")]

    def refused(self) -> None:
        """See `Credential`."""
        self._token.refused()
