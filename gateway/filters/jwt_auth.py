"""Authentication by a signed token: the `jwt_auth` policy."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Self

from gateway.config.snapshot import ConsumerConfig, JwtAuthConfig
from gateway.context import RequestContext
from gateway.errors import Credential, UnauthenticatedError
from gateway.filters.credentials import bearer_credential, is_jwt
from gateway.filters.jwt_claims import ClaimsError, check_claims, groups, subject
from gateway.filters.jwt_signature import TokenSignatures, invalid_token
from gateway.filters.key_set import KeySet, read_key_set
from gateway.filters.node_services import NodeServices
from gateway.filters.phases import Authenticator
from gateway.filters.published_keys import PublishedKeys


class JwtAuth(Authenticator):
    """Finds the consumer that a token speaks of. `now` is in seconds since 1970."""

    def __init__(
        self,
        config: JwtAuthConfig,
        keys: KeySet | PublishedKeys,
        subjects: Mapping[str, ConsumerConfig],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._signatures = TokenSignatures(config, keys)
        self._subjects = subjects
        self._now = now

    @classmethod
    def of(cls, config: JwtAuthConfig, services: NodeServices) -> Self:
        """The policy on this node."""
        source = config.key_source
        keys = read_key_set(config.jwks) if source is None else services.published_keys.at(source)
        return cls(config, keys, services.subjects)

    async def authenticate(self, context: RequestContext) -> ConsumerConfig | None:
        """The token's consumer; None without a token if the policy is optional.

        Raises `UnauthenticatedError`, and `UnavailableError` while the issuer's keys cannot be had.
        """
        token = bearer_credential(context.headers)
        if token is None:
            if self._config.optional:
                return None
            text = "a token is needed: send it as 'authorization: Bearer TOKEN'"
            raise UnauthenticatedError(text, reason="MISSING_TOKEN", credential=Credential.MISSING)
        if not is_jwt(token):
            raise invalid_token("the bearer token is not a JWT", Credential.OF_ANOTHER_KIND)
        claims = await self._signatures.verify(token)
        try:
            check_claims(claims, self._config, self._now())
            return self._consumer(subject(claims, self._config), groups(claims, self._config))
        except ClaimsError as error:
            reason = "EXPIRED_TOKEN" if error.is_expired else "INVALID_TOKEN"
            raise UnauthenticatedError(str(error), reason=reason) from None

    def _consumer(self, name: str, told: frozenset[str]) -> ConsumerConfig:
        known = self._subjects.get(name)
        if known is not None:
            return replace(known, groups=known.groups | told) if told else known
        if self._config.require_consumer:
            raise ClaimsError("no consumer has the token's subject")
        # No name of a consumer has a colon, so that nobody gets to be one by what an issuer calls them.
        return ConsumerConfig(name=f"jwt:{name}", groups=told)
