"""How the connection to the config servers stands, for admin, metrics and the log."""

from dataclasses import dataclass, field

import structlog

_log = structlog.get_logger("janua.config")


@dataclass(slots=True)
class ConnectionCounters:
    """Totals since the start."""

    attempts: int = 0
    streams: int = 0
    responses: int = 0
    acks: int = 0
    nacks: int = 0


@dataclass(slots=True)
class ConnectionStatus:
    """The present state; changes of it are logged, each once.

    Connected means that the server has answered on the stream, not only that the connection stands. During an outage
    each server's failure is logged again only when it becomes another one.
    """

    server: str | None = None
    last_error: str | None = None
    counters: ConnectionCounters = field(default_factory=ConnectionCounters)
    _logged: dict[str, str] = field(default_factory=dict)

    @property
    def is_connected(self) -> bool:
        """Whether a stream is up."""
        return self.server is not None

    def up(self, server: str) -> None:
        """A server has answered on a new stream."""
        self.server = server
        self.counters.streams += 1
        self._logged.clear()
        _log.info("connected to config server", server=server)

    def down(self, server: str, code: str, reason: str, *, is_refused: bool) -> None:
        """A stream has ended, or could not be opened. `code` tells kinds of failure apart, `reason` is for people."""
        was_connected = self.server is not None
        self.server = None
        self.last_error = f"{server}: {code}: {reason}"
        if self._logged.get(server) == code:
            return
        self._logged[server] = code
        fields = {"server": server, "code": code, "reason": reason}
        if is_refused:
            _log.error("config server refuses this node: check its address and this node's identity", **fields)
        elif was_connected:
            _log.warning("lost config server: serving what is held, trying again", **fields)
        else:
            _log.warning("config server not reachable: trying again", **fields)
