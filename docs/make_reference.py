"""Writes docs/config-reference.md, and the fields on the page of each kind of policy, from the comments in the .proto
files. With --check nothing is written: the pages must be as they would be."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
FILES = ("upstream", "service", "route", "policy", "consumer", "secret")
HEAD = """# Configuration reference

Made from the comments in `proto/janua/config/v1` by `make docs`; do not edit.

Files hold resources under `upstreams`, `services`, `routes`, `policies`, `consumers` and `secrets`, with the field
names below. Durations are written `5s` or `250ms`. Of an enum value its last part is enough: `LEAST_REQUEST` for
`POLICY_LEAST_REQUEST`. `${NAME}` and `${NAME:-default}` in values are replaced from the environment of whoever reads
the file. Unknown fields are errors.
"""

FIELDS = "## Fields\n"
FIELDS_HEAD = f"""{FIELDS}
Made from the comments in `proto/janua/config/v1/policy.proto` by `make docs`; edit them there. Durations are written
`5s` or `250ms`. Of an enum value its last part is enough.
"""

# Field numbers in descriptor.proto, of which the paths to comments consist.
_FILE_MESSAGES, _FILE_ENUMS, _MESSAGE_FIELDS, _MESSAGE_NESTED, _MESSAGE_ENUMS, _ENUM_VALUES = 4, 5, 2, 3, 4, 2

_SCALARS = {
    FieldDescriptorProto.TYPE_STRING: "text",
    FieldDescriptorProto.TYPE_BOOL: "true or false",
    FieldDescriptorProto.TYPE_UINT32: "number",
    FieldDescriptorProto.TYPE_INT32: "number",
    FieldDescriptorProto.TYPE_DOUBLE: "number",
}
_WELL_KNOWN = {".google.protobuf.Duration": "duration", ".google.protobuf.Timestamp": "time (RFC 3339)"}

Path_ = tuple[int, ...]


class Comments:
    """The comments of one file, by the path of what they stand before."""

    def __init__(self, file: FileDescriptorProto) -> None:
        locations = file.source_code_info.location
        self._texts = {tuple(place.path): " ".join(place.leading_comments.split()) for place in locations}

    def __getitem__(self, path: Path_) -> str:
        return self._texts.get(path, "")


def main() -> None:
    """Writes the pages, or says which of them are not as they should be."""
    files = {Path(file.name).stem: file for file in _descriptors().file}
    sections = [section for name in FILES for section in _file(files[name])]
    pages = {DOCS / "config-reference.md": "\n".join([HEAD, *sections]), **dict(_policy_pages(files["policy"]))}
    stale = [page for page, text in pages.items() if page.read_text() != text]
    if "--check" not in sys.argv[1:]:
        for page in stale:
            page.write_text(pages[page])
    elif stale:
        sys.exit(f"{', '.join(str(page.relative_to(ROOT)) for page in stale)} out of date: run make docs")


def _descriptors() -> FileDescriptorSet:
    with tempfile.NamedTemporaryFile() as out:
        names = [f"janua/config/v1/{name}.proto" for name in FILES]
        command = [sys.executable, "-m", "grpc_tools.protoc", "-I", str(ROOT / "proto"), "--include_source_info"]
        subprocess.run([*command, f"--descriptor_set_out={out.name}", *names], check=True)  # noqa: S603
        return FileDescriptorSet.FromString(Path(out.name).read_bytes())


def _file(file: FileDescriptorProto) -> Iterator[str]:
    comments = Comments(file)
    for index, message in enumerate(file.message_type):
        yield from _message(message, (_FILE_MESSAGES, index), comments, message.name)
    for index, enum in enumerate(file.enum_type):
        yield _enum(enum, (_FILE_ENUMS, index), comments, enum.name)


def _policy_pages(file: FileDescriptorProto) -> Iterator[tuple[Path, str]]:
    """The page of each kind of policy as it should be: the fields of its messages stand at the end."""
    comments = Comments(file)
    messages = {message.name: (index, message) for index, message in enumerate(file.message_type)}
    enums = {enum.name: (index, enum) for index, enum in enumerate(file.enum_type)}
    for kind in messages["Policy"][1].field:
        if not kind.HasField("oneof_index"):
            continue
        sections = [FIELDS_HEAD]
        for name in _reachable(kind.type_name.rpartition(".")[2], messages):
            if name in messages:
                index, message = messages[name]
                sections += _message(message, (_FILE_MESSAGES, index), comments, name)
            elif name in enums:
                index, enum = enums[name]
                sections.append(_enum(enum, (_FILE_ENUMS, index), comments, name))
        page = DOCS / "policies" / f"{kind.name.replace('_', '-')}.md"
        written = page.read_text().partition(FIELDS)[0].rstrip("\n")
        # One level below the heading that they stand under.
        yield page, written + "\n\n" + "\n".join(sections).replace("\n## ", "\n### ")


def _reachable(name: str, messages: Mapping[str, tuple[int, DescriptorProto]]) -> list[str]:
    """The type and those of its fields, and so on, in the order in which they are met."""
    met = [name]
    for each in met:
        fields = messages[each][1].field if each in messages else ()
        types = (field.type_name.rpartition(".")[2] for field in fields)
        met += (found for found in dict.fromkeys(types) if found and found not in met)
    return met


def _message(message: DescriptorProto, path: Path_, comments: Comments, title: str) -> Iterator[str]:
    if message.options.map_entry:
        return
    yield f"## {title}\n\n{comments[path]}\n"
    maps = {nested.name: nested for nested in message.nested_type if nested.options.map_entry}
    rows = [
        f"| `{field.name}` | {_type(field, maps)} | {comments[*path, _MESSAGE_FIELDS, index]} |"
        for index, field in enumerate(message.field)
    ]
    if rows:
        yield "\n".join(["| field | type | meaning |", "|---|---|---|", *rows, ""])
    for index, nested in enumerate(message.nested_type):
        yield from _message(nested, (*path, _MESSAGE_NESTED, index), comments, f"{title}.{nested.name}")
    for index, enum in enumerate(message.enum_type):
        yield _enum(enum, (*path, _MESSAGE_ENUMS, index), comments, f"{title}.{enum.name}")


def _enum(enum: EnumDescriptorProto, path: Path_, comments: Comments, title: str) -> str:
    rows = [
        f"| `{value.name}` | {comments[*path, _ENUM_VALUES, index]} |"
        for index, value in enumerate(enum.value)
        if value.number
    ]
    return "\n".join([f"## {title}\n\n{comments[path]}\n", "| value | meaning |", "|---|---|", *rows, ""])


def _type(field: FieldDescriptorProto, maps: Mapping[str, DescriptorProto]) -> str:
    name = field.type_name.rpartition(".")[2]
    if name in maps:
        return "map of text to text"
    text = _SCALARS.get(field.type) or _WELL_KNOWN.get(field.type_name) or f"`{name}`"
    return f"list of {text}" if field.label == FieldDescriptorProto.LABEL_REPEATED else text


if __name__ == "__main__":
    main()
