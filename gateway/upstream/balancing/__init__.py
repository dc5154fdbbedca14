"""The algorithms that choose among endpoints. Pure: none knows health, configuration messages or I/O."""
