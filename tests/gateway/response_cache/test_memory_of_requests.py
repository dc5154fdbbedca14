"""A cache takes no more memory than it may, whatever many distinct requests leave in it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

LIMIT = 8 * 1024 * 1024


@pytest.mark.timeout(180)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc")
def test_bound_holds_over_ten_thousand_distinct_requests() -> None:
    """They would take twice the bound. The soak test sends a million."""
    command = [sys.executable, "-m", "tests.support.cache_memory", "10000", str(LIMIT)]
    told = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert told["entries"] < 10_000
    assert 0.98 * LIMIT < told["bytes"] <= LIMIT
    assert told["taken"] <= 1.1 * LIMIT
