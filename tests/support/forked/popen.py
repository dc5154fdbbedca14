"""`subprocess.Popen` that starts programs of ours as forks of a `zygote` process."""

import atexit
import ctypes
import inspect
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import janua_client.tied_exec

from tests.support.forked.zygote import PROGRAMS, Request

EXEC = "JANUA_TEST_EXEC"
"""Environment variable: if it is set, for the tests or for one program, programs are started as users start them."""

_ROOT = Path(__file__).parents[3]
_PR_SET_CHILD_SUBREAPER = 36
_TIED = [sys.executable, "-ISE", janua_client.tied_exec.__file__]


class _Zygote:
    """The process that forks."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "tests.support.forked.zygote", str(theirs.fileno())]
        with theirs:
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, cwd=_ROOT)
        atexit.register(self.stop)

    def fork(self, request: Request, streams: Sequence[int]) -> int:
        """The process id of the program, which is a child of this process."""
        with self._turn:
            # No longer than this: else whatever our children leave behind would become our children.
            _take_in_orphans(1)
            try:
                socket.send_fds(self._socket, [json.dumps(asdict(request)).encode()], streams)
                return int(self._socket.recv(32))
            finally:
                _take_in_orphans(0)

    def stop(self) -> None:
        self._socket.close()
        self._process.wait()


_zygotes: list[_Zygote] = []
_PopenOfPython = subprocess.Popen
_PARAMETERS = [*inspect.signature(_PopenOfPython._execute_child).parameters][2:]  # type: ignore[attr-defined]  # private


class ForkingPopen(_PopenOfPython):  # type: ignore[type-arg]  # generic only in the stubs
    """Forks where it can, and else does what `subprocess.Popen` does."""

    def _execute_child(self, args: Any, *more: Any) -> None:
        given = dict(zip(_PARAMETERS, more, strict=True))
        request = _request(args, given)
        if request is None:
            super()._execute_child(args, *more)  # type: ignore[misc]  # private
            return
        if not _zygotes:
            _zygotes.append(_Zygote())
        streams = [
            own if other == -1 else other
            for own, other in enumerate((given["p2cread"], given["c2pwrite"], given["errwrite"]))
        ]
        self.pid = _zygotes[0].fork(request, streams)
        self._child_created = True
        pipes = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        self._close_pipe_fds(*(given[name] for name in pipes))  # type: ignore[attr-defined]  # private


def install() -> None:
    """From now on programs of ours are forked, where the system can."""
    if sys.platform == "linux" and EXEC not in os.environ:
        subprocess.Popen = ForkingPopen  # type: ignore[misc]


def _request(args: Any, given: dict[str, Any]) -> Request | None:
    """None: this is no program that can be forked, or it is to run in a way that a fork does not."""
    if isinstance(args, (str, bytes, os.PathLike)):
        return None
    words = [os.fsdecode(each) for each in args]
    if is_tied := words[:3] == _TIED:
        del words[:4]
    if words[:2] != [sys.executable, "-m"] or words[2] not in PROGRAMS:
        return None
    if given["preexec_fn"] or given["pass_fds"] or given["shell"] or given["executable"]:
        return None
    env = dict(os.environ if given["env"] is None else given["env"])
    if EXEC in env or _of_python(env) != _of_python(os.environ):
        return None
    return Request(
        module=words[2],
        arguments=words[3:],
        env=env,
        cwd=os.fspath(given["cwd"] or Path.cwd()),
        new_session=given["start_new_session"],
        is_tied=is_tied,
        parent=os.getpid(),
    )


def _of_python(env: Any) -> dict[str, str]:
    """The variables that Python itself reads at its start."""
    return {name: value for name, value in env.items() if name.startswith("PYTHON")}


def _take_in_orphans(yes: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, yes)
