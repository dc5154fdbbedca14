"""The Janua client: the `janua` command line, and the processes it starts."""
