"""Tools and the choice among them in Bedrock's requests, to canonical and back."""

from collections.abc import Iterable
from typing import Any, assert_never

from msgspec.structs import replace

from gateway.schemas.bedrock.blocks import cache_point
from gateway.schemas.bedrock.parts import read_cache_point
from gateway.schemas.bedrock.wire import NAME
from gateway.schemas.json_fields import Fields
from gateway.schemas.unsupported import Unsupported
from gateway.types import NamedTool, OpaqueTool, Tool, ToolMode


def decode_tools(config: Fields) -> tuple[Tool | OpaqueTool, ...]:
    """The tools in `toolConfig`; a mark to cache up to a place is put on the function before it."""
    tools: list[Tool | OpaqueTool] = []
    place = config.place_of("tools")
    for index, entry in enumerate(config.array("tools", required=False)):
        cache = read_cache_point(entry)
        last = tools[-1] if tools else None
        if cache is not None and isinstance(last, Tool) and last.cache is None:
            tools[-1] = replace(last, cache=cache)
        else:
            tools.append(_decode_tool(Fields(entry, f"{place}[{index}]"), entry))
    return tuple(tools)


def _decode_tool(fields: Fields, entry: dict[str, Any]) -> Tool | OpaqueTool:
    if not fields.has("toolSpec"):
        return OpaqueTool(dialect=NAME, value=entry)
    spec = fields.object("toolSpec")
    schema = spec.object("inputSchema")
    return Tool(
        name=spec.text("name"),
        description=spec.optional_text("description"),
        parameters=schema.mapping("json"),
        strict=spec.truth("strict"),
    )


def decode_tool_choice(config: Fields) -> ToolMode | NamedTool | None:
    """The choice in `toolConfig`."""
    if not config.has("toolChoice"):
        return None
    choice = config.object("toolChoice")
    if choice.has("tool"):
        return NamedTool(name=choice.object("tool").text("name"))
    if choice.has("any"):
        return ToolMode.REQUIRED
    if choice.has("auto"):
        return ToolMode.AUTO
    raise config.wrong("toolChoice", "one of auto, any, tool is needed")


def encode_tools(
    tools: Iterable[Tool | OpaqueTool], unsupported: Unsupported, *, has_cache: bool
) -> list[dict[str, Any]]:
    """The tools, those of this dialect as they came."""
    encoded: list[dict[str, Any]] = []
    for tool in tools:
        if isinstance(tool, Tool):
            encoded.append({"toolSpec": _tool_spec(tool)})
            if tool.cache is not None and has_cache:
                encoded.append(cache_point(tool.cache))
        elif tool.dialect == NAME:
            encoded.append(dict(tool.value))
        else:
            unsupported.field("tools", f"a tool that {tool.dialect} runs itself")
    return encoded


def _tool_spec(tool: Tool) -> dict[str, Any]:
    spec: dict[str, Any] = {"name": tool.name, "description": tool.description or None, "strict": tool.strict}
    spec["inputSchema"] = {"json": {"type": "object", **(tool.parameters or {})}}
    return {name: value for name, value in spec.items() if value is not None}


def encode_tool_choice(choice: ToolMode | NamedTool | None) -> dict[str, Any] | None:
    """The choice among tools that there are. That no function may be called is said by leaving them out."""
    match choice:
        case None | ToolMode.NONE:
            return None
        case ToolMode.AUTO:
            return {"auto": {}}
        case ToolMode.REQUIRED:
            return {"any": {}}
        case NamedTool(name=name):
            return {"tool": {"name": name}}
        case _:
            assert_never(choice)
