"""Replaces itself by a program that dies with its parent. Run as a file, without site packages, to start fast.

Usage: tied_exec.py PARENT_PID PROGRAM [ARGUMENT…]. Only Linux can tie; elsewhere the program simply starts.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2)


def tie_to_parent(parent_pid: int) -> None:
    """Asks the kernel for SIGTERM when the parent dies; the setting survives exec."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent_pid:  # it died before the kernel was asked
        raise SystemExit(1)


if __name__ == "__main__":
    tie_to_parent(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606  # no shell is what is wanted
