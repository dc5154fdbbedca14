"""Several node processes on one machine that share their ports: `--workers N`."""
