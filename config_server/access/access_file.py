"""The access file as it changes: read at the start, and again when it has been written."""

import asyncio
from pathlib import Path
from typing import Final

import structlog

from config_server.access.access_list import AccessError, AccessList
from config_server.access.guard import Guard
from config_server.file_stamp import FileStamp

_LOOK_EVERY_S: Final = 1.0

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


class AccessFile:
    """A file of principals and the guard that goes by it. Raises AccessError if it cannot be used at the start."""

    def __init__(self, path: Path, *, takes_certificates: bool) -> None:
        self._path = path
        self._stamp = FileStamp.of(path)
        self.guard = Guard(AccessList.read(path), takes_certificates=takes_certificates)

    async def run(self) -> None:
        """Follows the file until cancelled. One that cannot be used is told of, and the one before stays in force."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            stamp = FileStamp.of(self._path)
            if stamp == self._stamp:
                continue
            self._stamp = stamp
            try:
                access = AccessList.read(self._path)
            except AccessError as error:
                _log.error("access file not taken, going on with the one before", error=str(error))
            else:
                self.guard.replace(access)
                _log.info("access file taken", path=str(self._path), principals=len(access.principals))
