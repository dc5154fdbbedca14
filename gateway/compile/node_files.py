"""What goes wrong with things that a configuration names and each node has for itself."""


class FileUnreadableError(Exception):
    """A place outside the configuration has no usable value. `field` names it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
