"""Tools and the choice among them, to canonical and back."""

from collections.abc import Iterable, Mapping
from typing import Any, assert_never

from gateway.schemas.anthropic.cache import decode_cache, encode_cache
from gateway.schemas.anthropic.wire import NAME
from gateway.schemas.json_fields import Fields
from gateway.schemas.unsupported import Unsupported
from gateway.types import NamedTool, OpaqueTool, Tool, ToolMode

_MODES = {"auto": ToolMode.AUTO, "any": ToolMode.REQUIRED, "none": ToolMode.NONE}
_WORDS = {mode: word for word, mode in _MODES.items()}

# What only this dialect knows of a function is kept in the request's extra fields, under this and the function's name.
_EXTRA = "tools."

# Asks only that arguments be streamed as they are written, as others do unasked.
_WISH_ALL_FULFIL = "eager_input_streaming"


def decode_tools(fields: Fields, extra: dict[str, Any]) -> tuple[Tool | OpaqueTool, ...]:
    """The tools. What has no canonical place is put into `extra`, as `tools.NAME.FIELD`."""
    place = fields.place_of("tools")
    tools = fields.array("tools", required=False)
    return tuple(_decode_tool(tool, f"{place}[{index}]", extra) for index, tool in enumerate(tools))


def _decode_tool(value: Any, place: str, extra: dict[str, Any]) -> Tool | OpaqueTool:
    fields = Fields(value, place)
    if fields.text("type", "custom") != "custom":
        return OpaqueTool(dialect=NAME, value=value)
    name = fields.text("name")
    parameters = fields.value("input_schema")
    if not isinstance(parameters, dict):
        raise fields.wrong("input_schema", "an object is needed")
    tool = Tool(
        name=name,
        description=fields.optional_text("description"),
        parameters=parameters,
        strict=fields.truth("strict"),
        cache=decode_cache(fields),
    )
    fields.truth(_WISH_ALL_FULFIL)
    extra |= {f"{_EXTRA}{name}.{field}": value for field, value in fields.extra.items()}
    return tool


def encode_tools(tools: Iterable[Tool | OpaqueTool], unsupported: Unsupported) -> list[dict[str, Any]]:
    """The tools, those of this dialect as they came."""
    encoded = []
    for tool in tools:
        if isinstance(tool, Tool):
            encoded.append(_encode_tool(tool))
        elif tool.dialect == NAME:
            encoded.append(dict(tool.value))
        else:
            unsupported.field("tools", f"a tool that {tool.dialect} runs itself")
    return encoded


def _encode_tool(tool: Tool) -> dict[str, Any]:
    fields: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        fields["description"] = tool.description
    fields["input_schema"] = {"type": "object", **(tool.parameters or {})}
    if tool.strict is not None:
        fields["strict"] = tool.strict
    return encode_cache(fields, tool.cache)


def add_tool_extra(tools: Mapping[str, dict[str, Any]], name: str, value: Any) -> bool:
    """Puts an extra field of a function back into it, of those by name; False if the field is of none."""
    if not name.startswith(_EXTRA):
        return False
    tool_name, _, field = name.removeprefix(_EXTRA).rpartition(".")
    if tool_name in tools:
        tools[tool_name].setdefault(field, value)
    return True


def decode_tool_choice(fields: Fields) -> tuple[ToolMode | NamedTool | None, bool | None]:
    """The choice, and whether there may be several calls in one answer."""
    if not fields.has("tool_choice"):
        return None, None
    choice = fields.object("tool_choice")
    is_single = choice.truth("disable_parallel_tool_use")
    is_parallel = None if is_single is None else not is_single
    kind = choice.text("type")
    if kind == "tool":
        return NamedTool(name=choice.text("name")), is_parallel
    if kind not in _MODES:
        raise choice.wrong("type", f"'{kind}' is not a choice; known: {', '.join(_MODES)}, tool")
    return _MODES[kind], is_parallel


def encode_tool_choice(choice: ToolMode | NamedTool | None, *, is_parallel: bool | None) -> dict[str, Any] | None:
    """The choice; without one, that of the model where something is said about several calls."""
    fields: dict[str, Any]
    match choice:
        case None if is_parallel is None:
            return None
        case None:
            fields = {"type": "auto"}
        case ToolMode.NONE:
            return {"type": "none"}
        case ToolMode():
            fields = {"type": _WORDS[choice]}
        case NamedTool(name=name):
            fields = {"type": "tool", "name": name}
        case _:
            assert_never(choice)
    return fields if is_parallel is None else {**fields, "disable_parallel_tool_use": not is_parallel}
