"""Authentication by a client certificate: the `mtls_auth` policy."""

import time
from collections.abc import Callable, Iterable, Mapping

from gateway.config.snapshot import ConsumerConfig, MtlsAuthConfig
from gateway.context import RequestContext
from gateway.errors import Credential, UnauthenticatedError
from gateway.filters.phases import Authenticator


class MtlsAuth(Authenticator):
    """Finds the consumer that the caller's certificate names. `now` is in seconds since 1970."""

    def __init__(
        self, config: MtlsAuthConfig, owners: Mapping[str, ConsumerConfig], now: Callable[[], float] = time.time
    ) -> None:
        self._optional = config.optional
        self._is_limited = bool(config.names)
        self._names = frozenset(name for name in config.names if not name.endswith("*"))
        self._beginnings = tuple(name[:-1] for name in config.names if name.endswith("*"))
        self._owners = owners
        self._now = now

    async def authenticate(self, context: RequestContext) -> ConsumerConfig | None:
        """The certificate's consumer; None without a certificate if the policy is optional."""
        certificate = context.client_certificate()
        if certificate is None:
            if self._optional:
                return None
            text = "a client certificate is needed, shown when the connection is made"
            raise UnauthenticatedError(text, reason="MISSING_CLIENT_CERTIFICATE", credential=Credential.MISSING)
        if certificate.expires <= self._now():
            # The handshake has looked too, but a connection may last.
            raise UnauthenticatedError("the client certificate has expired", reason="EXPIRED_CLIENT_CERTIFICATE")
        return self._consumer([name for name in certificate.names if self._counts(name)])

    def _counts(self, name: str) -> bool:
        return not self._is_limited or name in self._names or name.startswith(self._beginnings)

    def _consumer(self, names: Iterable[str]) -> ConsumerConfig:
        unowned = None
        for name in names:
            if (owner := self._owners.get(name)) is not None:
                return owner
            unowned = unowned or name
        if unowned is None or not self._is_limited:
            text = "the client certificate is none that may call here"
            raise UnauthenticatedError(text, reason="UNKNOWN_CLIENT_CERTIFICATE")
        # No name of a consumer has a colon, so that nobody gets to be one by what a CA calls them.
        return ConsumerConfig(name=f"cert:{unowned}")
