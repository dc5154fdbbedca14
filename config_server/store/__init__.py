"""Where the configuration is kept: the `Store` contract and its backends."""
