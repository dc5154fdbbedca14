"""Hypothesis strategies for resources of every kind, driven by the descriptors, so that new fields are covered."""

from collections.abc import Mapping
from typing import TypeVar, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import strategies as st
from janua_resources.durations import from_nanos
from janua_resources.kinds import KINDS, ConfigMessage

_M = TypeVar("_M", bound=Message)

_INT_RANGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}

NAMES = st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,8}[a-z0-9])?", fullmatch=True)

# Text that reaches the parsers behind a field, or that YAML would read as something else, beside any text at all.
RULE_TEXT = ["/", "/v1?x", "a:1", "[::1]:1", "http://u:p@a", "https://a/v1", "(", "*.a", "0x7f.1", "1.2.3", "x\r\ny"]
NAME_TEXT = ["custom", "openai", "authorization", "ä", "", "*", "0" * 64]
YAML_TEXT = ["null", "~", "true", "no", "1e3", "0x1f", "010", "1_0", "1:30", "2027-01-01", "<<", "=", "|", ">", "? a"]
YAML_MARKS = ["- a: b", "# a", "a # b", ": ", "a: ", "'", '"', "%", "@", "`", "!a", "&a", "*a", "{", "]", "---", " a "]
DOLLARS = ["${A}", "${", "$$", "$$$", "$", "$a", "$${A}", "${A:-b}"]
CONTROLS = ["\0", "\t", "\x7f", "\x85", "\u2028", "\ufeff", "\ufffe", "\U0001f600", "a\n\nb\n", "\n", "\r\n"]
TEXT = st.one_of(
    st.sampled_from([*RULE_TEXT, *NAME_TEXT, *YAML_TEXT, *YAML_MARKS, *DOLLARS, *CONTROLS]), st.text(max_size=20)
)

DURATIONS = st.integers(-(10**19), 10**19).map(from_nanos)
TIMESTAMPS = st.builds(
    Timestamp, seconds=st.integers(-62_135_596_800, 253_402_300_799), nanos=st.integers(0, 999_999_999)
)

WELL_FORMED: Mapping[str, st.SearchStrategy[Message]] = {
    Duration.DESCRIPTOR.full_name: DURATIONS,
    Timestamp.DESCRIPTOR.full_name: TIMESTAMPS,
}


def arbitrary(message: type[_M]) -> st.SearchStrategy[_M]:
    """Any message that the wire can carry: unknown enum numbers, unset oneofs, impossible times, NaN included."""
    return _messages(message, {}, is_well=False)


def well_formed(message: type[_M]) -> st.SearchStrategy[_M]:
    """Messages of which a file can say all: legal times, finite numbers, known enum values. They may be nonsense."""
    return _messages(message, WELL_FORMED, is_well=True)


def resources(*, well: bool) -> st.SearchStrategy[ConfigMessage]:
    """Resources of any kind."""
    make = well_formed if well else arbitrary
    return st.one_of([make(info.message) for info in KINDS])


def _messages(
    message: type[_M], known: Mapping[str, st.SearchStrategy[Message]], *, is_well: bool
) -> st.SearchStrategy[_M]:
    @st.composite
    def build(draw: st.DrawFn) -> _M:
        built = message()
        for field in cast("Descriptor", message.DESCRIPTOR).fields:
            if draw(st.booleans()):
                _set(built, field, draw(_values(field, known, is_well=is_well)))
        return built

    return build()


def _values(
    field: FieldDescriptor, known: Mapping[str, st.SearchStrategy[Message]], *, is_well: bool
) -> st.SearchStrategy[object]:
    nested = field.message_type
    if nested is not None and nested.GetOptions().map_entry:
        value = _one(nested.fields_by_name["value"], known, is_well=is_well)
        return st.dictionaries(TEXT, value, max_size=3)
    one = _one(field, known, is_well=is_well)
    return st.lists(one, max_size=3) if field.is_repeated else one


def _one(
    field: FieldDescriptor, known: Mapping[str, st.SearchStrategy[Message]], *, is_well: bool
) -> st.SearchStrategy[object]:
    if field.message_type is not None:
        strategy = known.get(field.message_type.full_name)
        if strategy is not None:
            return strategy
        return _messages(GetMessageClass(field.message_type), known, is_well=is_well)
    if field.enum_type is not None:
        numbers = st.sampled_from([value.number for value in field.enum_type.values])
        return numbers if is_well else st.one_of(numbers, st.integers(-(2**31), 2**31 - 1))
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return st.booleans()
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return TEXT
    if field.cpp_type == FieldDescriptor.CPPTYPE_DOUBLE:
        return st.floats(allow_nan=not is_well, allow_infinity=not is_well)
    return st.integers(*_INT_RANGES[field.cpp_type])


def _set(message: Message, field: FieldDescriptor, value: object) -> None:
    if isinstance(value, list):
        getattr(message, field.name).extend(value)
    elif isinstance(value, dict):
        getattr(message, field.name).update(value)
    elif isinstance(value, Message):
        getattr(message, field.name).CopyFrom(value)
        getattr(message, field.name).SetInParent()
    else:
        setattr(message, field.name, value)
