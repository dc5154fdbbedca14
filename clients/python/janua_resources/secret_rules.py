"""When a secret makes sense: its file can be opened, and its allowed hosts are hosts."""

from collections.abc import Iterator

from janua.config.v1.secret_pb2 import Secret

from janua_resources.field_paths import item
from janua_resources.hosts import normalize_host_pattern
from janua_resources.secret_values import value_fault
from janua_resources.violations import Problem, problem_of_parsing


def check_secret(secret: Secret) -> Iterator[Problem]:
    """What is wrong with the meaning of a secret."""
    if secret.HasField("file") and "\0" in secret.file:
        yield Problem(field="file", message="has a NUL character, which no path can have")
    if secret.HasField("value") and (fault := value_fault(secret.value.strip())) is not None:
        yield Problem(field="value", message=fault)
    for index, host in enumerate(secret.allowed_hosts):
        yield from problem_of_parsing(normalize_host_pattern, host, item("allowed_hosts", index))
