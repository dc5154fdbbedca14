"""What Linux knows about a process: the CPU time it has used, and its memory."""

import os
from pathlib import Path


def cpu_seconds(pid: int) -> float:
    """User and system time of the process so far (proc(5), stat fields 14 and 15)."""
    # The second field is the program's name in parentheses, and may hold anything.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    """Memory of the process that is in RAM."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
