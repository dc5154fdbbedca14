"""Authentication by API key: the `api_key_auth` policy."""

from hashlib import sha256

from gateway.config.snapshot import ApiKeyAuthConfig, ConsumerConfig
from gateway.context import RequestContext
from gateway.errors import Credential, UnauthenticatedError
from gateway.filters.api_keys import KeyIndex
from gateway.filters.credentials import bearer_credential, is_jwt
from gateway.filters.phases import Authenticator

_KEY_HEADERS = (b"x-api-key", b"api-key", b"x-goog-api-key")
_HOW = "send it as 'authorization: Bearer KEY'"


class ApiKeyAuth(Authenticator):
    """Finds the consumer whose key the request carries.

    The key is looked up by its digest, so that the time the look-up takes tells nothing about any key.
    """

    def __init__(self, config: ApiKeyAuthConfig, keys: KeyIndex) -> None:
        self._config = config
        self._keys = keys

    async def authenticate(self, context: RequestContext) -> ConsumerConfig | None:
        """The key's consumer; None without a key if the policy is optional."""
        key = _presented_key(context)
        if key is None:
            if self._config.optional:
                return None
            text = f"an API key is needed: {_HOW}"
            raise UnauthenticatedError(text, reason="MISSING_API_KEY", credential=Credential.MISSING)
        owner = self._keys.owners.get(sha256(key).digest())
        if owner is None:
            credential = Credential.OF_ANOTHER_KIND if is_jwt(key) else Credential.WRONG
            raise UnauthenticatedError("the API key is not known", reason="INVALID_API_KEY", credential=credential)
        if owner.expires is not None and owner.expires <= self._keys.now():
            raise UnauthenticatedError("the API key has expired", reason="EXPIRED_API_KEY")
        return owner.consumer


def _presented_key(context: RequestContext) -> bytes | None:
    """The first key that the request carries. An empty one is none, also where somebody has configured its digest."""
    if (key := bearer_credential(context.headers)) is not None:
        return key
    for name in _KEY_HEADERS:
        if key := context.headers.get(name, b"").strip():
            return key
    if context.takes_key_in_query and (in_query := context.query.get("key", "").strip()):
        return in_query.encode()
    return None
