"""Files of certificates that a person has named."""

from janua_client.cli.failures import CommandError
from janua_client.tls import Tls


def checked(tls: Tls) -> Tls:
    """The same, if the files can be used. Raises `CommandError` with their names."""
    try:
        tls.ssl_context()
    except OSError as error:
        named = ", ".join(str(file) for file in (tls.ca_file, tls.certificate_file, tls.key_file) if file is not None)
        text = f"{named}: {error.strerror or error}: PEM files are wanted, keys without a passphrase"
        raise CommandError(text) from error
    return tls
