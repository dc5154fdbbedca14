"""How requests fail below what backends say. Exceptions of the libraries underneath end here."""


class TransportError(Exception):
    """A request failed below HTTP or gRPC."""


class ConnectError(TransportError):
    """No connection could be made in time, or the backend said that it has done nothing with the request."""


class ConnectionBrokenError(TransportError):
    """The connection ended, or what came over it cannot be understood, before the answer was complete."""


class AnswerTooLargeError(TransportError):
    """An answer, or a message, that must be held as a whole is over the limit."""
